"""What simulated speakers say: recordings of the demo's test set, one after the other."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.events import Step, WordStarted
from kyutai_onnx.runtime.audio import Pcm, read_audio

SET = Path(__file__).parent.parent / "training" / "sets" / "a"
RATE, FRAME = 24_000, 1920
REST_SECONDS = 0.5
FLUSH_FRAMES = 15
"""Of silence behind a talk: the words of a model lag half a second behind."""


@dataclass(frozen=True)
class Talk:
    """float32 `[n]`, whole frames at 24 kHz, and where the recordings' words end in it, in
    seconds, with their texts."""

    pcm: Pcm
    said: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class RecognizedWord:
    """A word that a stream alone transcribes, and the frame with which it is emitted."""

    text: str
    frame: int


def talk(number: int, seconds: float) -> Talk:
    """So many seconds of speech and rests, always the same for a number."""
    parts: list[Pcm] = []
    said: list[tuple[str, float]] = []
    length = 0
    rest = np.zeros(round(REST_SECONDS * RATE), np.float32)
    for pcm, words in _recordings(number):
        said += [(text, length / RATE + end) for text, end in words]
        parts += [pcm, rest]
        length += len(pcm) + len(rest)
        if length >= seconds * RATE:
            break
    frames = round(seconds * RATE) // FRAME
    whole = np.concatenate(parts)[: frames * FRAME]
    reported = tuple((text, end) for text, end in said if end <= frames * FRAME / RATE)
    return Talk(np.concatenate([whole, np.zeros(FLUSH_FRAMES * FRAME, np.float32)]), reported)


def _recordings(number: int) -> Iterator[tuple[Pcm, list[tuple[str, float]]]]:
    lines = (SET / "manifest.jsonl").read_text("utf-8").splitlines()
    for line in itertools.islice(itertools.cycle(lines), 17 * number, None):
        entry = json.loads(line)
        words = [(word["text"], word["end"]) for word in entry["words"]]
        yield np.concatenate(list(read_audio(SET / entry["audio"], RATE))), words


def recognized_alone(model: SpeechToText, pcm: Pcm) -> list[RecognizedWord]:
    """The words of a stream that has the model to itself, with the server's settings."""
    batch = model.batch(1)
    row = batch.join(model.task(live=True, lead=False))
    row.feed(pcm)
    found: list[RecognizedWord] = []
    frame = -1
    while batch.step():
        for event in row.events():
            if isinstance(event, Step):
                frame = event.index
            elif isinstance(event, WordStarted):
                found.append(RecognizedWord(event.text, frame))
    return found
