"""What happens to a voice between the mouth and the file: speed, rooms, filters, noise, codecs."""

import io
from dataclasses import dataclass, replace

import numpy as np
import soundfile
import soxr

from training.config import SAMPLE_RATE
from training.espeak import Phone, Utterance, Word

Rng = np.random.Generator


@dataclass(frozen=True)
class Plan:
    """How often each corruption happens, and the range of noise, in decibels."""

    speed: float = 0.6
    room: float = 0.2
    tilt: float = 0.5
    band: float = 0.25
    noise: float = 0.7
    codec: float = 0.1
    snr: tuple[float, float] = (5, 45)
    gain: tuple[float, float] = (-20, 3)


def decibels(value: float) -> float:
    return 10 ** (value / 20)


def respeed(utterance: Utterance, factor: float) -> Utterance:
    """Play `factor` times slower and lower, by resampling."""
    length = round(SAMPLE_RATE * factor)
    return Utterance(
        soxr.resample(utterance.pcm, SAMPLE_RATE, length, quality="LQ"),
        [Word(w.text, w.start * factor, w.end * factor) for w in utterance.words],
        [Phone(p.name, p.start * factor) for p in utterance.phones],
    )


def random_speed(utterance: Utterance, rng: Rng, plan: Plan) -> Utterance:
    if rng.random() >= plan.speed:
        return utterance
    return respeed(utterance, float(rng.uniform(0.87, 1.15)))


def split(utterance: Utterance, word: int, seconds: float) -> Utterance:
    """Insert silence before the given word (not the first)."""
    cut, gap = utterance.words[word].start, round(seconds * SAMPLE_RATE)
    at, fade = round(cut * SAMPLE_RATE), np.linspace(1, 0, 144, dtype=np.float32)
    head, tail = utterance.pcm[:at].copy(), utterance.pcm[at:].copy()
    if min(len(head), len(tail)) > len(fade):
        head[-len(fade) :] *= fade
        tail[: len(fade)] *= fade[::-1]
    late = gap / SAMPLE_RATE
    before = [replace(w, end=min(w.end, cut)) for w in utterance.words[:word]]
    after = [Word(w.text, w.start + late, w.end + late) for w in utterance.words[word:]]
    spoken = [p for p in utterance.phones if p.start < cut - 1e-6]
    rest = [Phone(p.name, p.start + late) for p in utterance.phones if p.start >= cut - 1e-6]
    pcm = np.concatenate([head, np.zeros(gap, np.float32), tail])
    return Utterance(pcm, before + after, [*spoken, Phone("_:", cut), *rest])


def corrupt(pcm: np.ndarray, rng: Rng, plan: Plan) -> tuple[np.ndarray, float]:
    """The recording of clean samples, and the gain that was applied to them."""
    gain = decibels(rng.uniform(*plan.gain))
    recorded = gain * filtered(pcm, rng, plan)
    if rng.random() < plan.noise:
        level = gain * loudness(pcm) * decibels(-rng.uniform(*plan.snr))
        recorded = recorded + level * noise(len(pcm), rng)
    recorded = np.clip(recorded, -1, 1)
    if rng.random() < plan.codec:
        recorded = compressed(recorded, rng)
    return recorded.astype(np.float32), gain


def loudness(pcm: np.ndarray) -> float:
    """Root mean square of the samples that are not silent."""
    loud = pcm[np.abs(pcm) > 1e-3]
    return float(np.sqrt(np.mean(loud**2))) if len(loud) > 100 else 0.1


def filtered(pcm: np.ndarray, rng: Rng, plan: Plan) -> np.ndarray:
    """Colour, band limits and a room, multiplied into one spectrum."""
    length = len(pcm) + SAMPLE_RATE // 2
    hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    response = np.ones(len(hz), np.complex64)
    if rng.random() < plan.tilt:
        response *= colour(hz, rng)
    if rng.random() < plan.band:
        response *= band(hz, rng)
    if rng.random() < plan.room:
        response *= np.fft.rfft(room(rng), length)
    if np.all(response == 1):
        return pcm
    return np.fft.irfft(np.fft.rfft(pcm, length) * response, length)[: len(pcm)]


def colour(hz: np.ndarray, rng: Rng) -> np.ndarray:
    """A smooth random response, within 8 dB."""
    knots = np.array([60, 200, 600, 1_500, 4_000, 11_000])
    gains = rng.uniform(-8, 8, len(knots))
    return decibels(np.interp(np.log(hz + 1), np.log(knots), gains - gains.mean()))


def band(hz: np.ndarray, rng: Rng) -> np.ndarray:
    """The band of a telephone, or a low-pass as of a 16 kHz file."""
    telephone = rng.random() < 0.5
    high = rng.uniform(3_200, 3_900) if telephone else rng.uniform(5_000, 8_000)
    response = 1 / (1 + (hz / high) ** 40)
    if telephone:
        low = rng.uniform(80, 300)
        response *= (hz / low) ** 4 / (1 + (hz / low) ** 4)
    return response


def room(rng: Rng) -> np.ndarray:
    """An impulse followed by decaying noise."""
    time = np.arange(round(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rng.uniform(0.08, 0.4))
    tail[: round(rng.uniform(0.002, 0.015) * SAMPLE_RATE)] = 0
    tail *= decibels(rng.uniform(-20, -4)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def noise(length: int, rng: Rng) -> np.ndarray:
    """White, pink or brown noise or a hum, of root mean square 1."""
    kind = rng.choice(["white", "pink", "brown", "hum"], p=[0.4, 0.35, 0.1, 0.15])
    if kind == "hum":
        time = np.arange(length) / SAMPLE_RATE
        base = rng.choice([50, 60]) * rng.uniform(0.99, 1.01)
        waves = [
            rng.uniform() / k * np.sin(2 * np.pi * (k * base * time + rng.uniform()))
            for k in range(1, 8)
        ]
        sound = np.sum(waves, 0)
    else:
        slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[str(kind)]
        spectrum = np.fft.rfft(rng.standard_normal(length))
        sound = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** slope, length)
    return (sound / (np.sqrt(np.mean(sound**2)) + 1e-9)).astype(np.float32)


def compressed(pcm: np.ndarray, rng: Rng) -> np.ndarray:
    """Through 8-bit mu-law, or Ogg Opus at 8 to 35 kbit/s."""
    if rng.random() < 0.3:
        code = np.round(127 * np.sign(pcm) * np.log1p(255 * np.abs(pcm)) / np.log(256))
        return np.sign(code) * np.expm1(np.abs(code) / 127 * np.log(256)) / 255
    decoded, _ = soundfile.read(io.BytesIO(opus(pcm, rng.uniform(0.9, 0.99))), dtype="float32")
    return np.pad(decoded, (0, max(0, len(pcm) - len(decoded))))[: len(pcm)]


def opus(pcm: np.ndarray, compression: float) -> bytes:
    """An Ogg Opus file at 24 kHz."""
    file = io.BytesIO()
    soundfile.write(
        file, pcm, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=compression
    )
    return file.getvalue()
