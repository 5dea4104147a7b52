"""PCM, linear or of G.711: bytes to float32 samples and back; full scale is 1.0 = 2**(bits - 1)."""

import io
import logging
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import UsageError
from ..typing import Array

Pcm = npt.NDArray[np.float32]
Encoding = Literal[
    "u8", "s8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be",
    "f32le", "f32be", "f64le", "f64be", "mulaw", "alaw",
]  # fmt: skip
"""How FFmpeg names samples without a header."""

SAMPLE_BYTES: dict[Encoding, int] = {
    encoding: int("".join(filter(str.isdigit, encoding)) or 8) // 8
    for encoding in get_args(Encoding)
}

_G711 = {"mulaw": "ULAW", "alaw": "ALAW"}
"""The encodings of telephones, as libsndfile names them."""

DITHER_STEP = 2.0**-15
"""One step of 16 bits."""

LOUDEST = 100.0
"""The greatest magnitude of a sample; full scale is 1. Audio beyond it is scaled wrongly, and could
overflow in a model."""


LOG = logging.getLogger(__name__)
"""Where it is said what was done to samples that are not as they should be."""


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
    """Samples [n] of whole samples in `data`; integers are scaled to [-1, 1)."""
    if encoding in _G711:
        return _decode_g711(data, _G711[encoding])
    if encoding in ("s24le", "s24be"):
        return _decode_s24(data, encoding)
    with np.errstate(over="ignore"):
        samples = np.frombuffer(data, _dtype(encoding)).astype(np.float32)
    bits = 8 * SAMPLE_BYTES[encoding]
    match encoding[0]:
        case "f":
            return samples
        case "u":
            return (samples - _scale(bits)) / _scale(bits)
    return samples / _scale(bits)


def encode(samples: Pcm, encoding: Encoding) -> bytes:
    """Bytes of samples [n]: integers clipped to [-1, 1] and rounded, floats as is."""
    if encoding in _G711:
        return _encode_g711(samples, _G711[encoding])
    bits = 8 * SAMPLE_BYTES[encoding]
    match encoding[0]:
        case "f":
            return samples.astype(_dtype(encoding)).tobytes()
        case "u":
            return (_quantise(samples, bits) + 128).astype(np.uint8).tobytes()
    if bits == 24:
        little = encoding.endswith("le")
        words = _quantise(samples, bits).astype("<i4" if little else ">i4")
        parts: npt.NDArray[np.uint8] = words.view(np.uint8).reshape(-1, 4)
        return (parts[:, :3] if little else parts[:, 1:]).tobytes()
    return _quantise(samples, bits).astype(_dtype(encoding)).tobytes()


def _dtype(encoding: Encoding) -> np.dtype[Any]:
    """Numpy's type for samples of 8, 16, 32 or 64 bits."""
    kind = encoding[0].replace("s", "i")
    return np.dtype(f"{'>' if encoding.endswith('be') else '<'}{kind}{SAMPLE_BYTES[encoding]}")


def _scale(bits: int) -> np.float32:
    return np.float32(2 ** (bits - 1))


def _decode_s24(data: bytes, encoding: Encoding) -> Pcm:
    given = np.frombuffer(data, np.uint8).reshape(-1, 3)
    words = np.zeros((len(given), 4), np.uint8)
    words[:, 1:] = given if encoding.endswith("le") else given[:, ::-1]
    return words.view("<i4").reshape(-1).astype(np.float32) / _scale(32)


def _decode_g711(data: bytes, subtype: str) -> Pcm:
    if not data:
        return np.zeros(0, np.float32)
    raw = {"format": "RAW", "subtype": subtype, "samplerate": 8000, "channels": 1}
    pcm: Pcm = soundfile.read(io.BytesIO(data), dtype="float32", **raw)[0]
    return pcm


def _encode_g711(samples: Pcm, subtype: str) -> bytes:
    coded = io.BytesIO()
    soundfile.write(coded, np.clip(samples, -1, 1), 8000, subtype, format="RAW")
    return coded.getvalue()


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


_JUDGED_SECONDS = 0.1
_FAINT = 1e-3
"""The level (RMS) below which nothing is heard that could cancel."""
_CANCELLED = 0.1
"""The level of a mix beside that of its louder channel: two unlike channels lose 0.3, one that is
silent 0.5."""
_MUCH_LOUDER = 2.0


class Mixer:
    """Mono of one source: the mean of all its channels, or the one that `channel` counts from 0.

    Where the two channels of stereo cancel each other, the louder one is used, which is logged.
    Each tenth of a second is judged by itself: pieces of any size give the same.
    """

    def __init__(self, name: str, sample_rate: int, channels: int, channel: int | None) -> None:
        self._name, self._channel = name, channel
        self._judges = channel is None and channels == 2
        self._window = max(int(_JUDGED_SECONDS * sample_rate), 1)
        self._rest = np.zeros((0, channels), np.float32)
        self._used: int | None = None

    def push(self, block: Pcm) -> Pcm:
        """Mono [m] of samples [n, channels]; m lags behind by a tenth of a second in stereo."""
        if not self._judges:
            return self._plain(block)
        block = np.concatenate((self._rest, block))
        whole = len(block) // self._window * self._window
        self._rest = block[whole:]
        return self._judged(block[:whole].reshape(-1, self._window, 2))

    def flush(self) -> Pcm:
        """The last samples."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._judged(rest[np.newaxis]) if len(rest) else rest[:, 0]

    def _plain(self, block: Pcm) -> Pcm:
        if block.shape[1] == 1:
            return block[:, 0]
        if self._channel is not None:
            return np.ascontiguousarray(block[:, self._channel])
        return _mean(block)

    def _judged(self, windows: Pcm) -> Pcm:
        """Mono of windows [count, samples, 2]."""
        mono = _mean(windows)
        with np.errstate(invalid="ignore", over="ignore"):
            levels = np.sqrt(np.mean(np.square(windows), axis=1))
            mixed = np.sqrt(np.mean(np.square(mono), axis=1))
        loudest = levels.max(axis=1, initial=0)
        for index in np.flatnonzero((loudest > _FAINT) & (mixed < _CANCELLED * loudest)):
            mono[index] = windows[index, :, self._louder(levels[index])]
        return mono.reshape(-1)

    def _louder(self, levels: Pcm) -> int:
        """The channel that is used: the one before unless the other is much louder, as a change is
        heard."""
        louder = int(levels.argmax())
        if self._used is None:
            LOG.warning(
                "%s: its channels cancel each other, so channel %d is used where they do; choose a "
                "channel to take it everywhere",
                self._name,
                louder,
            )
        if self._used is None or levels[louder] > _MUCH_LOUDER * levels[self._used]:
            self._used = louder
        return self._used


def _mean(block: Pcm) -> Pcm:
    """The mean over the last axis."""
    with np.errstate(invalid="ignore", over="ignore"):
        mono: Pcm = np.mean(block, axis=-1, dtype=np.float32)
    return mono


_TRUSTED_SECONDS = 0.25
_DOUBTED_SECONDS = 10.0
_MOST_DOUBTED = 1 << 21  # samples of all channels together
_BEYOND = 2.0  # of full scale: resampled integers reach beyond it


class FloatScale:
    """Scales floats in the range of integers, such as 32767, to [-1, 1], which is logged.

    Floats are trusted once they stay below 1 for the first quarter of a second of sound. Those that
    do not are kept back until ten seconds of them are known. Pieces of any size give the same.
    """

    def __init__(self, name: str, sample_rate: int, channels: int) -> None:
        self._name = name
        self._trusted = max(int(_TRUSTED_SECONDS * sample_rate), 1)
        most = min(int(_DOUBTED_SECONDS * sample_rate), _MOST_DOUBTED // channels)
        self._doubted = max(most, self._trusted)
        self._held = np.zeros((0, channels), np.float32)
        self._scale: float | None = None

    def push(self, block: Pcm) -> Pcm:
        """The samples [m, channels] whose scale is known, after more of them [n, channels]."""
        if self._scale is None:
            block = self._decide(block, ended=False)
        return self._scaled(block)

    def flush(self) -> Pcm:
        """The last samples."""
        return self._scaled(self._decide(self._held[:0], ended=True))

    def _decide(self, block: Pcm, *, ended: bool) -> Pcm:
        """What need not be kept back any longer: silence before the sound, or everything."""
        if not len(self._held):
            silent = ~block.any(axis=1)
            first = len(block) if silent.all() else int(silent.argmin())
            silence, self._held = block[:first], block[first:]
        else:
            silence, self._held = block[:0], np.concatenate((self._held, block))
        if len(self._held) >= self._trusted and _peak(self._held[: self._trusted]) < 1:
            self._scale = 1.0
        elif len(self._held) >= self._doubted or ended:
            self._scale = self._found(self._held[: self._doubted])
        if self._scale is None:
            return silence
        held, self._held = self._held, self._held[:0]
        return np.concatenate((silence, held))

    def _found(self, samples: Pcm) -> float:
        """What full scale is: 1, or that of the integers that most samples are as large as."""
        peak, sound = _peak(samples), np.abs(samples[samples != 0])
        if peak <= LOUDEST or np.count_nonzero(sound >= 1) < len(sound) / 2:
            return 1.0
        for bits in (16, 24, 32):
            scale = float(_scale(bits))
            if peak <= _BEYOND * scale:
                LOG.warning(
                    "%s: its samples reach %.0f, so they are divided by %.0f; full scale is 1",
                    self._name,
                    peak,
                    scale,
                )
                return scale
        return 1.0

    def _scaled(self, block: Pcm) -> Pcm:
        return block if self._scale in (None, 1.0) else block / np.float32(self._scale)


def _peak(samples: Pcm) -> float:
    """The greatest magnitude of those that are numbers."""
    return float(np.abs(samples[np.isfinite(samples)]).max(initial=0))
