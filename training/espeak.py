"""espeak-ng through ctypes: speech together with the times of its words and phonemes."""

import ctypes
from dataclasses import dataclass

import numpy as np
import soxr

from training.config import SAMPLE_RATE

SYNCHRONOUS = 2
PHONEME_EVENTS = 1
UTF8 = 1
POSITION_CHARACTER = 1
EVENT_END, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
RATE, PITCH, PITCH_RANGE, WORD_GAP = 1, 3, 4, 7


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice and how it speaks: words per minute, pitch and range 0-99, gap x 10 ms."""

    name: str
    rate: int = 160
    pitch: int = 50
    pitch_range: int = 50
    gap: int = 0


@dataclass(frozen=True)
class Word:
    """A word and the span it is heard in, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Phone:
    """A phoneme (or a pause, whose name begins with "_") and when it begins, in seconds."""

    name: str
    start: float

    @property
    def pause(self) -> bool:
        return self.name.startswith("_")


@dataclass(frozen=True)
class Utterance:
    """Mono float samples at 24 kHz, and what is heard in them."""

    pcm: np.ndarray
    words: list[Word]
    phones: list[Phone]

    @property
    def text(self) -> str:
        return " ".join(w.text for w in self.words)


class Espeak:
    """The engine. The library keeps its state in globals: make one per process."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libespeak-ng.so.1")
        self._rate = self._lib.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
        self._callback = _Callback(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)
        self._pcm: list[np.ndarray] = []
        self._words: dict[int, float] = {}
        self._phones: list[Phone] = []

    def _collect(self, wav, count: int, events) -> int:
        if count > 0 and wav:
            self._pcm.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type != EVENT_END:
            event, seconds = events[i], events[i].audio_position / 1000
            if event.type == EVENT_WORD:
                self._words.setdefault(event.text_position, seconds)
            elif event.type == EVENT_PHONEME:
                self._phones.append(Phone(event.id.string.decode("utf8", "replace"), seconds))
            i += 1
        return 0

    def speak(self, words: list[str], voice: Voice) -> Utterance:
        self._pcm, self._words, self._phones = [], {}, []
        self._select(voice)
        text = " ".join(words).encode() + b"\0"
        self._lib.espeak_Synth(text, len(text), 0, POSITION_CHARACTER, 0, UTF8, None, None)
        pcm = np.concatenate(self._pcm).astype(np.float32) / 32768
        spans = word_spans(words, self._words, self._phones)
        return Utterance(soxr.resample(pcm, self._rate, SAMPLE_RATE), spans, self._phones)

    def _select(self, voice: Voice) -> None:
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice named {voice.name!r}")
        settings = {
            RATE: voice.rate,
            PITCH: voice.pitch,
            PITCH_RANGE: voice.pitch_range,
            WORD_GAP: voice.gap,
        }
        for parameter, value in settings.items():
            self._lib.espeak_SetParameter(parameter, value, 0)


def word_spans(words: list[str], events: dict[int, float], phones: list[Phone]) -> list[Word]:
    """Spans from word events {text position from 1: seconds} and phonemes.

    espeak-ng merges some pairs ("in the") into one event; the words of one event share its span
    in proportion to their letters.
    """
    end = next((p.start for p in reversed(phones) if p.name == "_:"), phones[-1].start)
    sounds = [p.start for p in phones if not p.pause]
    starts: list[float | None] = []
    position = 1
    for word in words:
        event = events.get(position)
        heard = [t for t in sounds if event is not None and t >= event - 1e-4]
        starts.append(min(heard) if heard else event)
        position += len(word) + 1
    starts[0] = sounds[0] if starts[0] is None else starts[0]
    filled = _share(words, starts, end)
    spans = []
    for word, start, following in zip(words, filled, [*filled[1:], end], strict=True):
        pauses = [p.start for p in phones if p.pause and start < p.start < following]
        spans.append(Word(word, start, pauses[0] if pauses else following))
    return spans


def _share(words: list[str], starts: list[float | None], end: float) -> list[float]:
    """Fill each run of unknown starts between two known ones."""
    filled: list[float] = []
    for i, start in enumerate(starts):
        if start is not None:
            filled.append(start)
            continue
        first = max(k for k in range(i) if starts[k] is not None)
        last = next((k for k in range(i, len(starts)) if starts[k] is not None), len(starts))
        until = starts[last] if last < len(starts) else end
        letters = [len(w) for w in words[first:last]]
        share = sum(letters[: i - first]) / sum(letters)
        filled.append(starts[first] + (until - starts[first]) * share)
    return filled
