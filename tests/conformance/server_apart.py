"""`kyutai-onnx serve` in a process of its own."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from commands import command_line

SERVING = re.compile(r"serving .* at (http://127\.0\.0\.1:(\d+))")
WYOMING = re.compile(r"Wyoming at 127\.0\.0\.1:(\d+)")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """Where it listens."""

    url: str
    port: int
    wyoming_port: int

    @property
    def socket(self) -> str:
        """For websockets."""
        return self.url.replace("http", "ws")


@contextmanager
def serving() -> Iterator[Served]:
    """The three demos, with two slots each."""
    for package in ("aiohttp", "av", "msgpack", "prometheus_client"):
        pytest.importorskip(package, reason="the serve extra is not installed")
    arguments = ("serve", "--port", "0", "--wyoming-port", "0", "--slots", "2", "--static", "none")
    process = subprocess.Popen(
        command_line(*arguments),
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "KYUTAI_ONNX_MODEL"},
    )
    overdue = threading.Timer(START_SECONDS, process.kill)
    overdue.start()
    try:
        found = _found(process)
        overdue.cancel()
        yield found
    finally:
        overdue.cancel()
        process.terminate()
        process.communicate(timeout=30)


def _found(process: subprocess.Popen[str]) -> Served:
    """Where it says that it listens; what it says after that is read and forgotten."""
    assert process.stderr is not None
    told, found = "", None
    while found is None:
        line = process.stderr.readline()
        assert line, f"the server did not start:\n{told}"
        told += line
        found = WYOMING.search(told)
    serving = SERVING.search(told)
    assert serving is not None, told
    threading.Thread(target=lambda log: log.read(), args=(process.stderr,), daemon=True).start()
    return Served(serving[1], int(serving[2]), int(found[1]))
