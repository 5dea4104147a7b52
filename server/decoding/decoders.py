"""The server's side of decoder processes: how many run, and what happens to one that fails."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from ...runtime.errors import AudioError, KyutaiOnnxError, UsageError
from ..engine.events import Busy
from ..wire.errors import ProtocolError
from .frames import ERROR, HEADER, REQUEST, JobSpec
from .processes import Process, Starter, usual_starter

LOG = logging.getLogger("kyutai_onnx.server.decoding")
MOST_ANSWER = 16 << 20
"""Bytes of samples that a process may answer a request by."""
PIECE = 1 << 18
"""Bytes of a request that are written at once."""
ERRORS: dict[str, type[KyutaiOnnxError]] = {
    kind.__name__: kind for kind in (AudioError, ProtocolError, UsageError)
}


class DecoderLost(AudioError):  # noqa: N818
    """A process that ended, or took too long, or too much."""


class Decoders:
    """Runs at most `most` processes, each for one recording or one live stream, and ends one that
    lets a request wait for `patience` seconds. Belongs to the event loop."""

    def __init__(
        self, most: int, wait: float, *, patience: float = 120.0, starter: Starter | None = None
    ) -> None:
        self._room, self._wait, self.patience = asyncio.Semaphore(most), wait, patience
        self._starter = starter or usual_starter()
        self._running: set[Decoder] = set()

    async def prepare(self) -> None:
        """Loads the decoders before anyone needs them."""
        await self._starter.prepare()

    async def open(self, spec: JobSpec) -> "Decoder":
        """Starts a job. Raises Busy if none of the others ends within `wait` seconds."""
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
                raise Busy("no process to decode audio in") from error
            raise
        self._running.add(decoder)
        return decoder

    def forget(self, decoder: "Decoder") -> None:
        """Gives its room to another."""
        if decoder in self._running:
            self._running.remove(decoder)
            self._room.release()

    async def stop(self) -> None:
        """Ends all processes, whatever they do."""
        for decoder in tuple(self._running):
            decoder.close()
        await self._starter.stop()


class Decoder:
    """One process and its job. Leaving the block ends it."""

    def __init__(self, decoders: Decoders, process: Process, job: str) -> None:
        self._decoders, self._process, self._job = decoders, process, job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def ask(self, *request: bytes) -> bytes:
        """What the job answers. Raises what the job does, and DecoderLost where its process ended
        or had to be ended; no more can be asked after either."""
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
        """Ends the process."""
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
