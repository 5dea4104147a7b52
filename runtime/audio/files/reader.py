"""Reads audio as mono float32 blocks at one sample rate, in constant memory whatever its length."""

import math
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...errors import AudioError, UsageError
from ..pcm import LOUDEST, Pcm, RawFormat
from ..resampler import Resampler
from .decoder import Decoder
from .detection import open_decoder
from .info import AudioInfo
from .source import AudioSource

_LARGEST_BLOCK = 1 << 21  # samples of all channels together


def audio_blocks(
    audio: np.ndarray[Any, Any] | AudioSource, sample_rate: int, *, channel: int | None = None
) -> Iterable[np.ndarray[Any, Any]]:
    """Samples float32 `[n]` as they are, which must be at `sample_rate`; all else as `read_audio`
    reads it."""
    if isinstance(audio, np.ndarray):
        return [audio]
    return read_audio(audio, sample_rate, channel=channel)


def read_audio(
    source: AudioSource,
    sample_rate: int,
    *,
    channel: int | None = None,
    block_seconds: float = 1.0,
    raw: RawFormat | None = None,
) -> "AudioReader":
    """Blocks of mono float32 [n] at `sample_rate` Hz, from a path, a binary file object or "-".

    Mono is the mean of all channels, or the one that `channel` counts from 0. A block stands for
    at most `block_seconds` of the source; from a pipe it is what has arrived. Samples at
    `sample_rate` already pass bit for bit, others equal `soxr.resample` of the whole. Samples
    beyond [-1, 1] are kept. `raw` says what a source without a header holds. A file object is
    read from its start if it can seek, and is not closed.

    Opening raises AudioError (missing, empty, unreadable, foreign container) and UsageError
    (arguments, a channel that is not there). Iterating raises AudioError for damage, a file cut
    short, a sample that is NaN, infinite or above 100 in magnitude, or no samples at all, after
    all blocks before it.
    """
    if sample_rate < 1:
        raise UsageError(f"sample rate {sample_rate} Hz: it must be at least 1")
    if not (math.isfinite(block_seconds) and block_seconds > 0):
        raise UsageError(f"blocks of {block_seconds} s: they must be longer than 0")
    decoder = open_decoder(source, raw)
    try:
        return AudioReader(decoder, sample_rate, channel, block_seconds)
    except UsageError:
        decoder.close()
        raise


def probe(source: AudioSource, *, raw: RawFormat | None = None) -> AudioInfo:
    """What a source holds. Of a pipe this consumes the start: use `read_audio(...).info` there.

    Raises AudioError and UsageError as opening does in `read_audio`.
    """
    decoder = open_decoder(source, raw)
    decoder.close()
    return decoder.info


class AudioReader(Iterator[Pcm]):
    """The blocks of one source; made by `read_audio`.

    Closes itself at the end, at an error and when nobody holds it any more, or by `close`.
    """

    def __init__(
        self, decoder: Decoder, sample_rate: int, channel: int | None, block_seconds: float
    ) -> None:
        self.info: AudioInfo = decoder.info
        """What the source holds, at its own rate."""
        self._decoder = decoder
        _check_channel(decoder, channel)
        wanted = min(block_seconds * self.info.sample_rate, _LARGEST_BLOCK / self.info.channels)
        mono = _mono(decoder, max(int(wanted), 1), channel)
        self._blocks = _resampled(mono, Resampler(self.info.sample_rate, sample_rate))

    def __next__(self) -> Pcm:
        try:
            return next(self._blocks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the source; there are no more blocks."""
        self._blocks.close()
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._decoder.close()


def _resampled(blocks: Iterator[Pcm], resampler: Resampler) -> Generator[Pcm]:
    """The blocks at another rate, all that precedes an error before it."""
    failure = None
    try:
        for mono in blocks:
            if len(block := resampler.push(mono)):
                yield block
    except AudioError as error:
        failure = error
    if len(block := resampler.flush()):
        yield block
    if failure:
        raise failure


def _mono(decoder: Decoder, frames: int, channel: int | None) -> Iterator[Pcm]:
    position = 0
    while len(block := decoder.read(frames)):
        mono = _mix(block, channel)
        sound = np.abs(mono) <= LOUDEST  # which NaN is not
        if not sound.all():
            good = int(sound.argmin())
            yield mono[:good]
            raise _not_a_number(decoder, position + good)
        yield mono
        position += len(mono)
    if not position:
        raise AudioError(f"{decoder.name} holds no samples: record or copy it again")


def _not_a_number(decoder: Decoder, position: int) -> AudioError:
    return AudioError(
        f"{decoder.name} has a sample that is NaN, infinite or above {LOUDEST:g} at "
        f"{position / decoder.info.sample_rate:.3f} s: what precedes was read; "
        "export the audio again from where it was made"
    )


def _mix(block: Pcm, channel: int | None) -> Pcm:
    """Mono [n] of a block [n, channels]."""
    if block.shape[1] == 1:
        return block[:, 0]
    if channel is not None:
        return np.ascontiguousarray(block[:, channel])
    with np.errstate(invalid="ignore", over="ignore"):
        mono: Pcm = np.mean(block, axis=1, dtype=np.float32)
    return mono


def _check_channel(decoder: Decoder, channel: int | None) -> None:
    count = decoder.info.channels
    if channel is not None and not 0 <= channel < count:
        there = "1 channel, number 0" if count == 1 else f"{count} channels, 0 to {count - 1}"
        raise UsageError(f"{decoder.name} has {there}: there is no channel {channel}")
