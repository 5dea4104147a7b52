"""How decoder processes are started and ended."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from .frames import JobSpec
from .worker import FLAG, FORK

LOG = logging.getLogger("kyutai_onnx.server.decoding")
AT_ONCE = 1 << 20
"""Bytes of an answer that are read ahead."""
PATIENCE = 10.0
"""Seconds in which the processes end that are asked to."""
LINE, PAUSE = 1 << 12, 0.1
"""Bytes of what libraries print that are logged at a time, and seconds until the next."""
INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMPDIR")
"""What a decoder is given of the environment: the rest may hold keys."""
ARENAS = {"MALLOC_ARENA_MAX": "1"}
"""A decoder's second thread takes none of its memory."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Process:
    """One that runs: where requests are written, where answers are read, and what ends it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], object]


@dataclass(frozen=True)
class Nursery:
    """The process that forks others, and where it is asked to."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket


class Starter(Protocol):
    """Starts a process for each job."""

    async def prepare(self) -> None:
        """Makes the first one start as fast as the others."""

    async def start(self, spec: JobSpec) -> Process:
        """Raises OSError where the system gives none."""

    async def stop(self) -> None:
        """Ends all of them."""


class Forking:
    """Asks one process, which is started again if it has ended, to fork."""

    def __init__(self) -> None:
        self._numbers = count()
        self._nursery: Nursery | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process that forks."""
        return None if self._nursery is None else self._nursery.process.pid

    async def prepare(self) -> None:
        """See `Starter`."""
        async with self._lock:
            await self._control()

    async def start(self, spec: JobSpec) -> Process:
        """See `Starter`."""
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        try:
            control = await self._ask(f"{number} {spec.pack()}".encode(), theirs.fileno())
            reader, writer = await asyncio.open_connection(sock=ours, limit=AT_ONCE)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

        def kill() -> None:
            with suppress(OSError):
                control.send(str(number).encode())

        return Process(reader, writer, kill)

    async def stop(self) -> None:
        """See `Starter`."""
        async with self._lock:
            if self._nursery is not None:
                self._nursery.control.close()
                await asyncio.to_thread(_ended, self._nursery.process)
                self._nursery = None

    async def _ask(self, message: bytes, descriptor: int) -> socket.socket:
        async with self._lock:
            control = await self._control()
            socket.send_fds(control, [message], [descriptor])
            return control

    async def _control(self) -> socket.socket:
        if self._nursery is not None and self._nursery.process.poll() is not None:
            self._nursery.control.close()
            self._nursery = None
        if self._nursery is None:
            self._nursery = await asyncio.to_thread(_started)
        return self._nursery.control


class Spawning:
    """Starts each process from the beginning, which takes a third of a second."""

    def __init__(self) -> None:
        self._running: set[asyncio.subprocess.Process] = set()

    async def prepare(self) -> None:
        """See `Starter`; there is nothing to share."""

    async def start(self, spec: JobSpec) -> Process:
        """See `Starter`."""
        process = await asyncio.create_subprocess_exec(
            *_command(spec.pack()),
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=AT_ONCE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._running = {other for other in self._running if other.returncode is None} | {process}

        def kill() -> None:
            with suppress(ProcessLookupError):
                process.kill()

        return Process(process.stdout, process.stdin, kill)

    async def stop(self) -> None:
        """See `Starter`."""
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in self._running))
        self._running.clear()


def usual_starter() -> Starter:
    """Forks where that is safe and a socket can carry another."""
    return Forking() if sys.platform == "linux" else Spawning()


def _started() -> Nursery:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603
            _command(FORK, str(theirs.fileno())),
            env=_environment(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
    finally:
        theirs.close()
        os.close(writing)
    ours.setblocking(False)
    threading.Thread(target=_log, args=(reading,), name="decoders' output", daemon=True).start()
    return Nursery(process, ours)


def _log(reading: int) -> None:
    """Logs a little of what decoders print, until they have all ended."""
    with os.fdopen(reading, "rb", buffering=0) as printed:
        while data := printed.read(LINE):
            LOG.debug("decoder printed", extra={"fields": {"text": data[:200]}})
            time.sleep(PAUSE)


def _ended(process: "subprocess.Popen[Any]") -> None:
    """Waits for a process that ends by itself, and ends it if it does not."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(*arguments: str) -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable, FLAG, *arguments]
    return [sys.executable, "-P", "-m", f"{__package__}.worker", *arguments]


def _environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    path = os.pathsep.join(filter(None, sys.path))
    return {**inherited, **ARENAS, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": path}
