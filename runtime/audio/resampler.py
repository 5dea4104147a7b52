"""Sample-rate conversion of a mono stream: by soxr at its high quality, or by half at once."""

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


_REACH = 63
"""Samples on either side of the filter's centre: it delays by 1.3 ms."""


def _low_pass() -> Pcm:
    """Passes what is below a quarter of the rate: a sinc under a Kaiser window."""
    offsets = np.arange(-_REACH, _REACH + 1)
    taps = np.sinc(offsets / 2) * np.kaiser(2 * _REACH + 1, 8.0)
    return np.asarray(taps / taps.sum(), np.float32)


_TAPS = _low_pass()


class HalfBandDecimator:
    """Halves the rate of a stream. `n` samples give `n / 2` at once, so that a frame is full when
    its last packet is there; a resampler that lags behind would wait for the next packet."""

    def __init__(self) -> None:
        self._before = np.zeros(2 * _REACH, np.float32)

    def push(self, pcm: Pcm) -> Pcm:
        """float32 `[n / 2]` of float32 `[n]`, n even."""
        known = np.concatenate((self._before, pcm))
        self._before = known[len(pcm) :]
        halved: Pcm = np.convolve(known, _TAPS, "valid")[::2]
        return halved
