"""Files of codes: `codes` int64 `[codebooks, frames]` and `samples`, the length of the audio.

The name - is standard input or output.
"""

import io
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...models import Mimi
from ...runtime.audio import AudioReader, AudioWriter
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
    blocks: AudioReader,
    path: str,
    *,
    codebooks: int | None,
    quiet: bool,
) -> Array:
    """Encode audio to a file; if reading fails, the codes before the fault are written."""
    stream = mimi.stream("encode", codebooks)
    made: list[Array] = []
    samples = 0
    with closing(watched(blocks, mimi.sample_rate, quiet=quiet)) as shown:
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


@dataclass(frozen=True)
class SavedCodes:
    """Codes int64 `[codebooks, frames]`, and the samples of their audio."""

    codes: Array
    samples: int


def decode_file(mimi: Mimi, saved: SavedCodes, audio: str) -> None:
    """Decode codes to an audio file."""
    codes, left = saved.codes, saved.samples
    stream = mimi.stream("decode")
    stream.check(codes)
    with AudioWriter(audio, mimi.sample_rate) as writer:
        for start in range(0, codes.shape[1], FRAMES):
            pcm = stream.feed(codes[:, start : start + FRAMES])[:left]
            writer.write(np.clip(pcm, -1, 1))
            left -= len(pcm)


def _write(path: str, codes: Array, samples: int) -> None:
    content = io.BytesIO()
    np.savez(content, codes=codes, samples=np.int64(samples))
    if path == "-":
        with writing(STANDARD_OUTPUT):
            open_stdout().write(content.getvalue())
    else:
        with output_file(path) as file:
            file.write(content.getvalue())


def read_codes(path: str) -> SavedCodes:
    """Read a file of codes; raises AudioError if it is none."""
    try:
        content = io.BytesIO(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        arrays = read_arrays(content)
        samples = _samples(arrays.get("samples", np.iinfo(np.int64).max))
        return SavedCodes(arrays["codes"], samples)
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
