"""Writes float32 samples to an audio file, block by block, so that what was written is kept."""

from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import AudioError, UsageError
from .pcm import Encoding, Pcm
from .sinks import Sink
from .targets import AudioTarget, open_sink, target_name


class AudioWriter:
    """A context manager over .wav, .flac, .ogg, .opus or .mp3, "-", or a binary file object.

    "-" is WAV on standard output, flushed after every block; a file object gets WAV too and is
    not closed; `raw` leaves the header out, wherever it goes. `subtype` is libsndfile's name of
    the encoding ("PCM_16" in WAV and FLAC unless told). Integers are clipped to [-1, 1], floats
    kept. However the `with` block ends, what was written until then is a valid file.

    Raises UsageError for what the format cannot hold, AudioError for what the system refuses.
    """

    def __init__(
        self,
        target: AudioTarget,
        sample_rate: int,
        channels: int = 1,
        subtype: str | None = None,
        *,
        raw: Encoding | None = None,
    ) -> None:
        if sample_rate < 1 or channels < 1:
            raise UsageError(
                f"{channels} channel(s) at {sample_rate} Hz cannot be written: give at least 1 each"
            )
        self.name = target_name(target)
        self.sample_rate = sample_rate
        self.channels = channels
        self.frames = 0
        """Samples per channel written so far."""
        self._sink: Sink | None = open_sink(target, sample_rate, channels, subtype, raw)

    def write(self, samples: Pcm) -> None:
        """Append float32 samples, [n] or [n, channels].

        Raises UsageError for another dtype or shape, AudioError when the system refuses, or for
        a sample that is NaN or infinite, after those before it were written.
        """
        if self._sink is None:
            raise UsageError(f"{self.name} is closed: write before the end of the with block")
        block = self._shaped(samples)
        finite = np.isfinite(block).all(axis=1)
        good = len(block) if finite.all() else int(finite.argmin())
        self._sink.write(block[:good])
        self.frames += good
        if good < len(block):
            raise AudioError(
                f"{self.name} ends at {self.frames / self.sample_rate:.3f} s: "
                "the next sample is NaN or infinite; check what made it"
            )

    def close(self) -> None:
        """Finish the file; does nothing the second time."""
        sink, self._sink = self._sink, None
        if sink:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(AudioError):  # the error that ended the block is the one to see
            self.close()

    def _shaped(self, samples: Pcm) -> Pcm:
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise UsageError(f"samples must be a float32 numpy array, not {kind}")
        block = samples[:, np.newaxis] if samples.ndim == 1 else samples
        if block.ndim != 2 or block.shape[1] != self.channels:
            wanted = "[n]" if self.channels == 1 else f"[n, {self.channels}]"
            raise UsageError(f"samples must be {wanted}, not {list(samples.shape)}")
        return block
