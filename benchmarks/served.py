"""`kyutai-onnx serve` in a process of its own, on a port of loopback that is free."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

START = "import sys; from kyutai_onnx.cli.main import main; sys.exit(main())"
STARTED = re.compile(r"serving .* at (https?://\S+)")
WYOMING = re.compile(r"Wyoming at \S+:(\d+)")
PATIENCE = 60.0
"""Seconds until it must listen, answer or have ended."""


class ServedProcess:
    """One that is started with these arguments of `serve`, by an interpreter that has the package;
    `output` keeps its standard output;
    it may open so many `files`. Raises RuntimeError, with its log, if it does not listen."""

    def __init__(
        self,
        log: Path,
        *arguments: object,
        python: str = sys.executable,
        output: Path | None = None,
        files: int | None = None,
    ) -> None:
        self._log = log
        command = [python, "-c", START, "serve", "--port", "0", *map(str, arguments)]
        with log.open("wb") as said, contextlib.ExitStack() as stack:
            printed = None if output is None else stack.enter_context(output.open("wb"))
            limited = None if files is None else functools.partial(_limit_files, files)
            self._process = subprocess.Popen(
                command, stderr=said, stdout=printed, preexec_fn=limited
            )
        self.url = self._listening()

    def _listening(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while self.alive and time.monotonic() < deadline:
            if found := STARTED.search(self.log):
                return found[1]
            time.sleep(0.05)
        self._process.kill()
        raise RuntimeError(f"the server does not listen: {self.log}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def wyoming_port(self) -> int:
        """That of a server which has one."""
        found = WYOMING.search(self.log)
        if found is None:
            raise RuntimeError(f"the server does not speak Wyoming: {self.log}")
        return int(found[1])

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text("utf-8")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def get(self, path: str) -> str:
        """What it answers."""
        with urlopen(self.url + path, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return text

    @property
    def used(self) -> int:
        """Slots that are taken, of all models."""
        models: list[dict[str, Any]] = json.loads(self.get("/ready"))["models"]
        return sum(model["used"] for model in models)

    @property
    def cpu_seconds(self) -> float:
        """Time that processors have spent on it, without its children."""
        return cpu_seconds(self.pid)

    @property
    def open_files(self) -> int:
        """Files and sockets that it holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(PATIENCE)
        finally:
            self._process.kill()

    def kill(self) -> None:
        """Ends it, if it has not ended, without a word."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Interrupts it, if it has not ended; RuntimeError where it does not end well. Windows has
        no signal for that: there it is killed."""
        if os.name == "nt":
            self._process.kill()
            self._process.wait()
            return
        if self.alive:
            self.signal(signal.SIGINT)
        if code := self.wait():
            raise RuntimeError(f"the server ended with {code}: {self.log}")


def _limit_files(count: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def cpu_seconds(process: int) -> float:
    """Time that processors have spent on a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served_process(*arguments: object) -> Iterator[ServedProcess]:
    """One that is stopped in the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = ServedProcess(Path(folder) / "log", *arguments)
        try:
            yield server
        finally:
            server.stop()
