"""Decoder processes, from the server's side: how they start, how many run, what they answer, and
what happens when one fails."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np

from ...runtime.audio import Pcm
from ...runtime.errors import AudioError, KyutaiOnnxError, UsageError
from ..engine.events import Busy
from ..limits import Limits
from ..wire import ProtocolError
from .worker import ERROR, FLAG, FORK, HEADER, REQUEST, JobSpec

LOG = logging.getLogger("kyutai_onnx.server.decoding")
RECORDING = JobSpec(f"{__package__}.jobs:RecordingJob", memory=128 << 20, processor=30, nice=10)
OPUS = JobSpec(f"{__package__}.jobs:OpusJob", memory=96 << 20, processor=10, nice=5)
FILE_COPIES = 4
"""Of a file that the process is sent, in its memory."""
BLOCK_SECONDS = 5.0
MOST_OPUS = 8 << 20
"""Bytes at once: as much of Opus as may be decoded at once takes less than half of it."""
MOST_ANSWER = 16 << 20
"""Bytes of samples that a process may answer a request by."""
PIECE = 1 << 18
"""Bytes of a request that are written at once."""
ERRORS: dict[str, type[KyutaiOnnxError]] = {
    kind.__name__: kind for kind in (AudioError, ProtocolError, UsageError)
}
AT_ONCE = 1 << 20
"""Bytes of an answer that are read ahead."""
PATIENCE = 10.0
"""Seconds in which the processes end that are asked to."""
LINE, PAUSE = 1 << 12, 0.1
"""Bytes of what libraries print that are logged at a time, and seconds until the next."""
INHERITED = (
    *("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "PATH", "SYSTEMROOT"),
    *("TEMP", "TMPDIR"),
)
"""The environment of a decoder: the rest may hold keys."""
ARENAS = {"MALLOC_ARENA_MAX": "1"}
"""A decoder's second thread takes none of its memory."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Process:
    """A running process: where requests are written, where answers are read, and what ends it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], object]


@dataclass(frozen=True)
class Nursery:
    """The process that forks others, and the socket over which it is asked to."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket


class Starter(Protocol):
    """Starts a process for each job."""

    async def prepare(self) -> None:
        """Make the first process start as fast as the others."""

    async def start(self, spec: JobSpec) -> Process:
        """Start a process. Raises OSError if the system has none."""

    async def stop(self) -> None:
        """End all processes."""


class Forking:
    """Have one process fork the others; it is restarted if it has ended."""

    def __init__(self) -> None:
        self._numbers = count()
        self._nursery: Nursery | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the process that forks."""
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
    """Restart each process, which takes 0.3 s."""

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
    """Fork on Linux, where it is safe and a socket can carry another."""
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
    """Log a little of what decoders print, until all have ended."""
    with os.fdopen(reading, "rb", buffering=0) as printed:
        while data := printed.read(LINE):
            LOG.debug("decoder printed", extra={"fields": {"text": data[:200]}})
            time.sleep(PAUSE)


def _ended(process: "subprocess.Popen[Any]") -> None:
    """Wait for a process to end by itself, and kill it if it does not."""
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


class DecoderLost(AudioError):  # noqa: N818
    """A decoder process ended, or took too much time or memory."""


class Decoders:
    """Run one process for each recording, `limits.uploads` at most, and for each of `streams` live
    streams; end a process that lets a request wait for `patience` seconds. Belongs to the event
    loop."""

    def __init__(
        self,
        limits: Limits,
        streams: int,
        *,
        patience: float = 120.0,
        starter: Starter | None = None,
    ) -> None:
        self._room = asyncio.Semaphore(limits.uploads + streams)
        self._wait, self.patience = limits.wait, patience
        self._starter = starter or usual_starter()
        self._running: set[Decoder] = set()

    async def prepare(self) -> None:
        """Load the decoders before a client needs them."""
        await self._starter.prepare()

    async def open(self, spec: JobSpec) -> "Decoder":
        """Start a job. Raises Busy if none of the others ends within `Limits.wait` seconds."""
        try:
            async with asyncio.timeout(self._wait):
                await self._room.acquire()
        except TimeoutError:
            raise Busy("too many recordings are decoded at once") from None
        try:
            decoder = Decoder(self, await self._starter.start(spec), spec.job)
        except BaseException as error:
            self._room.release()
            if isinstance(error, OSError):
                raise Busy("no process is available to decode audio") from error
            raise
        self._running.add(decoder)
        return decoder

    def forget(self, decoder: "Decoder") -> None:
        """Let another process run instead."""
        if decoder in self._running:
            self._running.remove(decoder)
            self._room.release()

    async def stop(self) -> None:
        """End all processes, whatever they do."""
        for decoder in tuple(self._running):
            decoder.close()
        await self._starter.stop()


class _Closing:
    """Closes when the block is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Decoder(_Closing):
    """One process and its job. Leaving the block ends it."""

    def __init__(self, decoders: Decoders, process: Process, job: str) -> None:
        self._decoders, self._process, self._job = decoders, process, job

    async def ask(self, *request: bytes) -> bytes:
        """Return the job's answer. Raises what the job raises, and DecoderLost if its process
        ended or had to be ended; nothing can be asked after either."""
        try:
            async with asyncio.timeout(self._decoders.patience):
                kind, answer = await self._exchange(request)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | EOFError):  # TimeoutError is an OSError
                LOG.info("decoder lost", extra={"fields": {"job": self._job, "why": repr(error)}})
                raise DecoderLost(
                    "the audio cannot be decoded: it takes too long or too much memory, or is "
                    "damaged; convert it to wav first"
                ) from None
            raise
        if kind == ERROR:
            self.close()
            name, _, line = answer.decode(errors="replace").partition("\n")
            raise ERRORS.get(name, AudioError)(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.writer.close()
        self._decoders.forget(self)

    async def _exchange(self, request: tuple[bytes, ...]) -> tuple[int, bytes]:
        reader, writer = self._process.reader, self._process.writer
        writer.write(HEADER.pack(REQUEST, sum(map(len, request))))
        for part in request:
            for start in range(0, len(part), PIECE):
                writer.write(part[start : start + PIECE])
                await writer.drain()
        kind, size = HEADER.unpack(await reader.readexactly(HEADER.size))
        if size > MOST_ANSWER:
            raise EOFError(f"an answer of {size} bytes")
        return kind, await reader.readexactly(size)


class DecoderClient(_Closing):
    """Audio that is decoded in a process of its own, which starts with the first request. Leaving
    the block ends it."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        self._decoder: Decoder | None = None

    def close(self) -> None:
        """End the process, if it has started."""
        if self._decoder is not None:
            self._decoder.close()

    async def _ask(self, spec: JobSpec, *request: bytes) -> bytes:
        if self._decoder is None:
            self._decoder = await self._decoders.open(spec)
        return await self._decoder.ask(*request)


class RecordingDecoder(DecoderClient):
    """A recording that a client posted: a whole file, in any format that is read here, decoded a
    block at a time."""

    def __init__(self, decoders: Decoders, file: BinaryIO, sample_rate: int) -> None:
        super().__init__(decoders)
        self._file, self._rate = file, sample_rate

    async def open(self) -> float | None:
        """Return its length in seconds, as far as its header knows. Raises AudioError for a file
        that cannot be read, Busy if too many are decoded."""
        path = _path_of(self._file)
        asked = {"path": path, "rate": self._rate, "seconds": BLOCK_SECONDS}
        content = b"" if path is not None else self._file.read()
        spec = replace(RECORDING, memory=RECORDING.memory + FILE_COPIES * len(content))
        known = json.loads(await self._ask(spec, json.dumps(asked).encode(), b"\n", content))
        duration: float | None = known["duration"]
        return duration

    async def read(self) -> Pcm | None:
        """Return the next samples, float32 `[n]`; None at the end. Raises AudioError."""
        block = await self._ask(RECORDING)
        return np.frombuffer(block, np.float32) if block else None


class OpusStream(DecoderClient):
    """A live stream of Opus in Ogg."""

    def __init__(self, decoders: Decoders) -> None:
        super().__init__(decoders)
        self.ended = False
        """Whether the stream's last page, which not every writer marks, was read."""

    async def push(self, data: bytes) -> Pcm:
        """Return float32 `[n]` at 24 kHz, of the packets that are whole now. Raises ProtocolError
        for data that is not Opus in Ogg or cannot be decoded within the limits, Busy if too many
        streams are decoded."""
        if len(data) > MOST_OPUS:
            raise ProtocolError(f"{len(data)} bytes of Opus at once: send at most {MOST_OPUS}")
        try:
            answer = await self._ask(OPUS, data)
        except AudioError as error:
            raise ProtocolError(str(error)) from None
        self.ended = bool(answer[0])
        return np.frombuffer(answer, np.float32, offset=1)


def _path_of(file: BinaryIO) -> str | None:
    """Return the path by which another process can open it, if there is one."""
    name = getattr(file, "name", None)
    return str(Path(name).absolute()) if isinstance(name, str) and Path(name).is_file() else None
