"""Writes float32 samples to an audio file, block by block, so that what was written is kept."""

from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np

from ...errors import AudioError, KyutaiOnnxError, UsageError
from ...output_file import OutputFile
from ..pcm import Encoding, Pcm
from .encoders import Sink
from .output import writing
from .targets import AudioTarget, open_sink, target_name


class AudioWriter:
    """A context manager over .wav, .flac, .ogg, .opus or .mp3, "-", or a binary file object.

    "-" is WAV on standard output, flushed after every block; a file object gets WAV too and is
    not closed; `raw` leaves the header out, wherever it goes. `subtype` is libsndfile's name of
    the encoding ("PCM_16" in WAV and FLAC by default). Integers are clipped to [-1, 1], floats
    kept.

    A file appears, or replaces an older one, as a whole when the `with` block ends; an interrupt
    ends it as well. After an error an older file stays; without one, what was written is kept.

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
        self._failed = False
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
        try:
            self._sink.write(block[:good])
        except BaseException as error:
            self._failed = isinstance(error, Exception)
            raise
        self.frames += good
        if good < len(block):
            raise AudioError(
                f"{self.name} ends at {self.frames / self.sample_rate:.3f} s: "
                "the next sample is NaN or infinite; check what made it"
            )

    def close(self) -> None:
        """Finish the file and put it at its path; does nothing the second time."""
        self._finish(keep=not self._failed)

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
        made = self.frames > 0 and not self._failed
        with suppress(KyutaiOnnxError):  # the error that ended the block is the one to see
            self._finish(keep=made and not isinstance(error, Exception))

    def _finish(self, *, keep: bool) -> None:
        """Ends the file; without `keep` it replaces no other."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.close()
        except BaseException:
            self._settle(sink.output, keep=False)
            raise
        self._settle(sink.output, keep=keep)

    def _settle(self, output: OutputFile | None, *, keep: bool) -> None:
        if output is None:
            return
        with writing(self.name):
            if keep:
                output.commit()
            elif self.frames:
                output.salvage()
            else:
                output.discard()

    def _shaped(self, samples: Pcm) -> Pcm:
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise UsageError(f"samples must be a float32 numpy array, not {kind}")
        block = samples[:, np.newaxis] if samples.ndim == 1 else samples
        if block.ndim != 2 or block.shape[1] != self.channels:
            wanted = "[n]" if self.channels == 1 else f"[n, {self.channels}]"
            raise UsageError(f"samples must be {wanted}, not {list(samples.shape)}")
        return block
