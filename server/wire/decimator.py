"""From 48 kHz, at which Opus is decoded, to 24 kHz, without holding samples back."""

import numpy as np

from ...runtime.audio import Pcm

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
