"""A recording that a client posted, decoded a block at a time in a process of its own."""

import json
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from ...runtime.audio import Pcm
from .decoders import Decoder, Decoders
from .frames import JobSpec

SPEC = JobSpec(f"{__package__}.jobs:RecordingJob", memory=128 << 20, processor=30, nice=10)
COPIES = 4
"""Of a file that the process is sent, in its memory."""
BLOCK_SECONDS = 5.0


class RecordingDecoder:
    """A whole file, in any format that is read here. Leaving the block ends its process."""

    def __init__(self, decoders: Decoders, file: BinaryIO, sample_rate: int) -> None:
        self._decoders, self._file, self._rate = decoders, file, sample_rate
        self._decoder: Decoder | None = None

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

    async def open(self) -> float | None:
        """Its length in seconds, as far as its header knows. Raises AudioError for what cannot be
        read, Busy where too many are decoded."""
        path = _path_of(self._file)
        asked = {"path": path, "rate": self._rate, "seconds": BLOCK_SECONDS}
        content = b"" if path is not None else self._file.read()
        spec = replace(SPEC, memory=SPEC.memory + COPIES * len(content))
        self._decoder = await self._decoders.open(spec)
        known = json.loads(await self._decoder.ask(json.dumps(asked).encode(), b"\n", content))
        duration: float | None = known["duration"]
        return duration

    async def read(self) -> Pcm | None:
        """The next samples, float32 `[n]`; None at the end. Raises AudioError."""
        assert self._decoder is not None
        block = await self._decoder.ask()
        return np.frombuffer(block, np.float32) if block else None


def _path_of(file: BinaryIO) -> str | None:
    """Where other processes can open it, if anywhere."""
    name = getattr(file, "name", None)
    return str(Path(name).absolute()) if isinstance(name, str) and Path(name).is_file() else None
