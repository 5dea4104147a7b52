"""Files of codes: `codes` int64 `[codebooks, frames]` and `samples`, the length of the audio.

The name - is standard input or output.
"""

import io
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from ...models import Mimi
from ...runtime.audio import AudioWriter, read_audio
from ...runtime.audio.files.output import STANDARD_OUTPUT, open_stdout, writing
from ...runtime.errors import AudioError
from ...runtime.npz import read_arrays
from ...runtime.output_file import output_file
from ...runtime.typing import Array
from ..messages import watched

FRAMES = 25
"""Decoded at once."""


def encode_file(
    mimi: Mimi,
    audio: str,
    path: str,
    *,
    codebooks: int | None,
    channel: int | None,
    quiet: bool,
) -> Array:
    """Encode an audio file; if reading fails, the codes before the fault are written."""
    stream = mimi.stream("encode", codebooks)
    made: list[Array] = []
    samples = 0
    blocks = read_audio(audio, mimi.sample_rate, channel=channel)
    with blocks, closing(watched(blocks, mimi.sample_rate, quiet=quiet)) as shown:
        try:
            for block in shown:
                samples += len(block)
                made.append(stream.feed(block))
        finally:
            made.append(stream.flush())
            codes = np.concatenate(made, axis=1)
            if samples:
                _write(path, codes, samples)
    return codes


def decode_file(mimi: Mimi, path: str, audio: str) -> Array:
    """Decode a file of codes to an audio file; returns the codes."""
    codes, samples = _read(path)
    stream = mimi.stream("decode")
    stream.check(codes)
    with AudioWriter(audio, mimi.sample_rate) as writer:
        left = samples
        for start in range(0, codes.shape[1], FRAMES):
            pcm = stream.feed(codes[:, start : start + FRAMES])[:left]
            writer.write(np.clip(pcm, -1, 1))
            left -= len(pcm)
    return codes


def _write(path: str, codes: Array, samples: int) -> None:
    content = io.BytesIO()
    np.savez(content, codes=codes, samples=np.int64(samples))
    if path == "-":
        with writing(STANDARD_OUTPUT):
            open_stdout().write(content.getvalue())
    else:
        with output_file(path) as file:
            file.write(content.getvalue())


def _read(path: str) -> tuple[Array, int]:
    try:
        content = io.BytesIO(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        arrays = read_arrays(content)
        return arrays["codes"], _samples(arrays.get("samples", np.iinfo(np.int64).max))
    except (OSError, ValueError, KeyError) as error:
        cause = "it has no codes" if isinstance(error, KeyError) else error
        raise AudioError(
            f"{path}: not a file of codes ({cause}); make one with 'kyutai-onnx codec encode'"
        ) from None


def _samples(value: Array | int) -> int:
    given = np.asarray(value)
    if given.shape != () or given.dtype.kind not in "iu" or given < 0:
        raise ValueError("samples is not a number of samples")
    return int(given)
