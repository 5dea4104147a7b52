"""A live stream of Opus in Ogg, decoded in a process of its own."""

from types import TracebackType
from typing import Self

import numpy as np

from ...runtime.audio import Pcm
from ...runtime.errors import AudioError
from ..wire.errors import ProtocolError
from .decoders import Decoder, Decoders
from .frames import JobSpec

SPEC = JobSpec(f"{__package__}.jobs:OpusJob", memory=96 << 20, processor=10, nice=5)
MOST = 8 << 20
"""Bytes at once: as much of Opus as may be decoded at once takes less than half of it."""


class OpusStream:
    """Its process starts with its first bytes. Leaving the block ends it."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        self._decoder: Decoder | None = None
        self.ended = False
        """Whether the stream's last page, which not every writer marks, was read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._decoder is not None:
            self._decoder.close()

    async def push(self, data: bytes) -> Pcm:
        """float32 `[n]` at 24 kHz, of the packets that are whole now. Raises ProtocolError for what
        is not Opus in Ogg or cannot be decoded within the limits, Busy where too many are."""
        if len(data) > MOST:
            raise ProtocolError(f"{len(data)} bytes of Opus at once: send at most {MOST}")
        if self._decoder is None:
            self._decoder = await self._decoders.open(SPEC)
        try:
            answer = await self._decoder.ask(data)
        except AudioError as error:
            raise ProtocolError(str(error)) from None
        self.ended = bool(answer[0])
        return np.frombuffer(answer, np.float32, offset=1)
