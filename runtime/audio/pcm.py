"""Linear PCM: bytes to float32 samples and back, full scale being 1.0 = 2**(bits - 1)."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..typing import Array

Pcm = npt.NDArray[np.float32]
Encoding = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]

SAMPLE_BYTES: dict[Encoding, int] = {
    "u8": 1,
    "s16le": 2,
    "s24le": 3,
    "s32le": 4,
    "f32le": 4,
    "f64le": 8,
}


DITHER_STEP = 2.0**-15
"""One step of 16 bits."""

LOUDEST = 100.0
"""The greatest magnitude of a sample; full scale is 1. Audio beyond it is scaled wrongly, and could
overflow in a model."""


@dataclass(frozen=True)
class RawFormat:
    """What headerless PCM is made of: rate in Hz, encoding of a sample, interleaved channels."""

    sample_rate: int
    encoding: Encoding = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if self.sample_rate < 1 or self.channels < 1:
            raise UsageError(
                f"raw audio of {self.channels} channels at {self.sample_rate} Hz: "
                "both must be at least 1"
            )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels


def check_encoding(encoding: str) -> None:
    """Refuse with UsageError an encoding that is not in the table."""
    if encoding not in SAMPLE_BYTES:
        known = ", ".join(get_args(Encoding))
        raise UsageError(f"unknown raw encoding {encoding!r}: choose one of {known}")


def check_mono(samples: object) -> Pcm:
    """Return the samples; refuse with UsageError anything but a float32 array [n]."""
    if not isinstance(samples, np.ndarray):
        raise UsageError(f"samples must be a float32 numpy array [n], not {type(samples).__name__}")
    if samples.dtype != np.float32 or samples.ndim != 1:
        shape = list(samples.shape)
        raise UsageError(f"samples must be a float32 array [n], not {samples.dtype} {shape}")
    return samples


def check_samples(samples: object) -> Pcm:
    """Return the samples; refuse with UsageError anything but a float32 array [n] of numbers up to
    `LOUDEST`: NaN and infinity would stay in a model's memory."""
    pcm = check_mono(samples)
    if not len(pcm):
        return pcm
    least, most = float(pcm.min()), float(pcm.max())
    if least >= -LOUDEST and most <= LOUDEST:
        return pcm
    loudest = max(-least, most)
    if not math.isfinite(loudest):
        raise UsageError("the audio has samples that are NaN or infinite: remove them first")
    raise UsageError(f"the audio has a sample of {loudest:g}: give floats in [-1, 1]")


def to_float32(samples: Array) -> Pcm:
    """Samples of any float or integer type as float32; integers of full scale become [-1, 1).

    Raises UsageError for an array of another type.
    """
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    with np.errstate(over="ignore"):
        if kind == "f":
            return samples.astype(np.float32, copy=False)
        if kind == "i":
            return samples.astype(np.float32) / _scale(bits)
        if kind == "u":
            return ((samples.astype(np.float64) - _scale(bits)) / _scale(bits)).astype(np.float32)
    raise UsageError(f"audio is an array of floats or integers, not of {samples.dtype}")


def decode(data: bytes, encoding: Encoding) -> Pcm:
    """Samples [n] of whole little-endian PCM `data`; integers are scaled to [-1, 1)."""
    match encoding:
        case "u8":
            return (np.frombuffer(data, np.uint8).astype(np.float32) - _scale(8)) / _scale(8)
        case "s16le":
            return np.frombuffer(data, "<i2").astype(np.float32) / _scale(16)
        case "s24le":
            return _decode_s24(data)
        case "s32le":
            return np.frombuffer(data, "<i4").astype(np.float32) / _scale(32)
        case "f32le":
            return np.frombuffer(data, "<f4").astype(np.float32)
        case "f64le":
            with np.errstate(over="ignore"):
                return np.frombuffer(data, "<f8").astype(np.float32)


def encode(samples: Pcm, encoding: Encoding) -> bytes:
    """Little-endian PCM of samples [n]: integers clipped to [-1, 1] and rounded, floats as is."""
    match encoding:
        case "u8":
            return (_quantise(samples, 8) + 128).astype(np.uint8).tobytes()
        case "s16le":
            return _quantise(samples, 16).astype("<i2").tobytes()
        case "s24le":
            words = _quantise(samples, 24).astype("<i4").view(np.uint8).reshape(-1, 4)
            return words[:, :3].tobytes()
        case "s32le":
            return _quantise(samples, 32).astype("<i4").tobytes()
        case "f32le":
            return samples.astype("<f4").tobytes()
        case "f64le":
            return samples.astype("<f8").tobytes()


def _scale(bits: int) -> np.float32:
    return np.float32(2 ** (bits - 1))


def _decode_s24(data: bytes) -> Pcm:
    words = np.zeros((len(data) // 3, 4), np.uint8)
    words[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return words.view("<i4").reshape(-1).astype(np.float32) / _scale(32)


def _quantise(samples: Pcm, bits: int) -> npt.NDArray[np.float64]:
    scale = 2.0 ** (bits - 1)
    return np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)


class Dither:
    """Adds triangular noise of one step either way (TPDF), so that rounding is inaudible.

    Samples float32 [n] stay within [-1, 1]. The same seed gives the same noise.
    """

    def __init__(self, seed: int = 0) -> None:
        self._noise = np.random.default_rng(seed)

    def __call__(self, pcm: Pcm) -> Pcm:
        first, second = self._noise.random((2, len(pcm)), np.float32)
        noisy: Pcm = np.clip(pcm + np.float32(DITHER_STEP) * (first - second), -1, 1)
        return noisy
