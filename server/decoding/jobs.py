"""What decoder processes do: each job is a state that answers requests of bytes by bytes."""

import io
import json
from pathlib import Path
from typing import Any

from ...runtime.audio import AudioReader, read_audio
from ..wire.ogg_opus import OpusDecoder

NAME = "the audio"
"""What errors call a recording: its place is the server's own business."""


class RecordingJob:
    """A recording of any format. The first request is a line of JSON and, unless that has a path,
    the file; it is answered by what is known of it. Each later one is answered by a block of
    samples, and by none at the end."""

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
    """A live stream of Opus in Ogg. A request is its next bytes; the answer is a byte that is 1
    if the stream has ended, else 0, and the samples."""

    def __init__(self) -> None:
        self._decoder = OpusDecoder()

    def __call__(self, request: bytes) -> bytes:
        pcm = self._decoder.push(request)
        return bytes([self._decoder.ended]) + pcm.tobytes()


class _Content(io.BytesIO):
    name = NAME


class _File(io.BufferedReader):
    name = NAME
