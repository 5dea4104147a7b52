"""Noise that makes rounding to 16 bits unheard: triangular, of one step either way (TPDF)."""

import numpy as np

from .pcm import Pcm

STEP = 2.0**-15


class Dither:
    """Adds it to samples float32 [n], which stay within [-1, 1]. The same seed, the same noise."""

    def __init__(self, seed: int = 0) -> None:
        self._noise = np.random.default_rng(seed)

    def __call__(self, pcm: Pcm) -> Pcm:
        first, second = self._noise.random((2, len(pcm)), np.float32)
        noisy: Pcm = np.clip(pcm + np.float32(STEP) * (first - second), -1, 1)
        return noisy
