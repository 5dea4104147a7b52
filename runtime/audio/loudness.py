"""Loudness of mono audio by ITU-R BS.1770, in LUFS.

The filters are made for the sample rate as pyloudnorm's "K-weighting" makes them, with which voice
prompts were prepared.
"""

import math

import numpy as np

from ..typing import Array

BLOCK_SECONDS, OVERLAP = 0.4, 0.75
SILENCE, BELOW_MEAN = -70.0, -10.0
"""Gates: blocks below the first do not count, nor those so far below the mean of the others."""
DECAY_SECONDS = 0.5
"""After which the filters' responses are below what float64 distinguishes from zero."""


def loudness(pcm: Array, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS of samples float32 `[n]`; minus infinity for silence,
    and for less than a block of 0.4 s."""
    weighted = _filtered(pcm.astype(np.float64), _response(sample_rate))
    starts = np.arange(0, len(pcm), BLOCK_SECONDS * (1 - OVERLAP) * sample_rate).astype(int)
    size = int(BLOCK_SECONDS * sample_rate)
    sums = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = starts[starts + size <= len(pcm)]
    powers = (sums[starts + size] - sums[starts]) / size
    loud = powers[_decibels(powers) > SILENCE]
    if not len(loud):
        return -math.inf
    gate = _decibels(loud.mean()) + BELOW_MEAN
    return float(_decibels(loud[_decibels(loud) > gate].mean()))


def _decibels(power: Array | float) -> Array:
    with np.errstate(divide="ignore"):
        decibels: Array = -0.691 + 10 * np.log10(np.maximum(power, 0))
    return decibels


def _response(sample_rate: int) -> Array:
    """The impulse response of the two filters: the head's shelf, and the high pass."""
    impulse = np.zeros(int(DECAY_SECONDS * sample_rate))
    impulse[0] = 1
    return _biquad(_biquad(impulse, *_shelf(sample_rate)), *_high_pass(sample_rate))


def _biquad(samples: Array, b: Array, a: Array) -> Array:
    """A filter of second order; `a` begins with 1."""
    made = np.zeros(len(samples) + 2)
    given = np.concatenate([np.zeros(2), samples])
    for index in range(2, len(given)):
        past = made[index - 2 : index][::-1]
        made[index] = b @ given[index - 2 : index + 1][::-1] - a[1:] @ past
    return made[2:]


def _shelf(sample_rate: int, gain: float = 4.0, hertz: float = 1500.0) -> tuple[Array, Array]:
    """A high shelf of Q 1/sqrt(2) (the audio EQ cookbook of Robert Bristow-Johnson)."""
    root, angle = 10 ** (gain / 40), 2 * math.pi * hertz / sample_rate
    cosine, alpha = math.cos(angle), math.sin(angle) / math.sqrt(2)
    slope = 2 * math.sqrt(root) * alpha
    up, down = (root + 1) + (root - 1) * cosine, (root + 1) - (root - 1) * cosine
    middle = (root - 1) + (root + 1) * cosine, (root - 1) - (root + 1) * cosine
    b = root * np.array([up + slope, -2 * middle[0], up - slope])
    a = np.array([down + slope, 2 * middle[1], down - slope])
    return b / a[0], a / a[0]


def _high_pass(sample_rate: int, hertz: float = 38.0) -> tuple[Array, Array]:
    """A high pass of Q 1/2, of the same source."""
    angle = 2 * math.pi * hertz / sample_rate
    cosine, alpha = math.cos(angle), math.sin(angle)
    b = np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2])
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    return b / a[0], a / a[0]


def _filtered(samples: Array, response: Array) -> Array:
    length = len(samples) + len(response)
    spectrum = np.fft.rfft(samples, length) * np.fft.rfft(response, length)
    filtered: Array = np.fft.irfft(spectrum, length)[: len(samples)]
    return filtered
