"""Sample-rate conversion of a mono stream, by soxr at its high quality."""

import numpy as np
import soxr

from ..errors import UsageError
from .pcm import Pcm, check_mono


class Resampler:
    """From one rate in Hz to another: the pieces joined equal `soxr.resample` of the whole.

    Between equal rates samples pass untouched, without delay.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        if source_rate < 1 or target_rate < 1:
            raise UsageError(f"cannot resample {source_rate} Hz to {target_rate} Hz")
        self._soxr = (
            soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
            if source_rate != target_rate
            else None
        )

    def push(self, pcm: Pcm) -> Pcm:
        """The samples [m] that samples [n] make available; m lags behind by soxr's delay."""
        check_mono(pcm)
        if self._soxr is None:
            return pcm
        return np.asarray(self._soxr.resample_chunk(pcm), np.float32)

    def flush(self) -> Pcm:
        """The last samples [m]; the next `push` begins another signal."""
        nothing = np.zeros(0, np.float32)
        if self._soxr is None:
            return nothing
        tail = np.asarray(self._soxr.resample_chunk(nothing, last=True), np.float32)
        self._soxr.clear()
        return tail
