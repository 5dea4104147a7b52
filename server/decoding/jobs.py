"""The jobs of decoder processes: each is a state that answers requests of bytes with bytes."""

import io
import json
from pathlib import Path
from typing import Any

from ...runtime.audio import AudioReader, read_audio
from ..wire.ogg_opus import OpusDecoder

NAME = "the audio"
"""The name of a recording in errors: its path is the server's own business."""


class RecordingJob:
    """Decode a recording of any format. The first request is a line of JSON and, unless that has a
    path, the file; the answer is what is known of it. Each later answer is a block of samples, and
    empty at the end."""

    def __init__(self) -> None:
        self._blocks: AudioReader | None = None

    def __call__(self, request: bytes) -> bytes:
        if self._blocks is not None:
            block = next(self._blocks, None)
            return b"" if block is None else block.tobytes()
        line, _, content = request.partition(b"\n")
        asked: dict[str, Any] = json.loads(line)
        path = asked["path"]
        source = _Content(content) if path is None else _File(io.FileIO(Path(path)))
        self._blocks = read_audio(source, asked["rate"], block_seconds=asked["seconds"])
        return json.dumps({"duration": self._blocks.info.duration}).encode()


class OpusJob:
    """Decode a live stream of Opus in Ogg. A request is its next bytes; the answer is a byte, 1 if
    the stream has ended, else 0, and the samples."""

    def __init__(self) -> None:
        self._decoder = OpusDecoder()

    def __call__(self, request: bytes) -> bytes:
        pcm = self._decoder.push(request)
        return bytes([self._decoder.ended]) + pcm.tobytes()


class _Content(io.BytesIO):
    name = NAME


class _File(io.BufferedReader):
    name = NAME
