"""Jobs of decoder processes that do wrong, and those processes as the system sees them."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kyutai_onnx.server.decoding.worker import JobSpec

WORKER = "kyutai_onnx.server.decoding.worker"


class Echo:
    def __call__(self, request: bytes) -> bytes:
        return request


class Doze:
    """Answers the first request, and falls asleep over the next."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, request: bytes) -> bytes:
        if self._asked:
            threading.Event().wait()
        self._asked = True
        return request


class Sleep:
    def __call__(self, request: bytes) -> bytes:
        threading.Event().wait()
        return request


class Work:
    def __call__(self, request: bytes) -> bytes:
        while True:
            pass


class Crash:
    def __call__(self, request: bytes) -> bytes:
        os.kill(os.getpid(), signal.SIGSEGV)
        return request


class Allocate:
    def __call__(self, request: bytes) -> bytes:
        return bytes(1 << 30)


class Boast:
    def __call__(self, request: bytes) -> bytes:
        return bytes(20 << 20)


class Flood:
    """Prints 12 MB, as libraries do."""

    def __call__(self, request: bytes) -> bytes:
        for descriptor in (1, 2) * 1000:
            with suppress(BlockingIOError):
                os.write(descriptor, b"flood " * 1000)
        return request


def spec(job: Callable[..., object], *, processor: int = 5) -> JobSpec:
    return JobSpec(f"{__name__}:{job.__name__}", memory=128 << 20, processor=processor, nice=0)


def processes() -> dict[int, int]:
    """Those that decode for this process, each with its parent."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if WORKER in command and state != "Z":
            found[int(folder.name)] = int(parent)
    return {pid: up for pid, up in found.items() if os.getpid() in (up, found.get(up))}


def jobs() -> set[int]:
    """The processes of jobs, without the one that forks them."""
    return {pid for pid, parent in processes().items() if parent != os.getpid()}
