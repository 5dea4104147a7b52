"""Long recordings: several turns with silences between and within them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training import augment
from training.config import FRAME_RATE, FRAME_SIZE, SAMPLE_RATE, VAD_HORIZONS
from training.corpus import Corpus
from training.espeak import Phone, Utterance, Word
from training.layout import Spoken

FRAMES = 200
HESITATION = 0.2
HESITATION_SECONDS = (0.3, 1.2)


@dataclass(frozen=True)
class Sequence:
    """16 s of sound, and what is said in it and shortly after its end."""

    pcm: np.ndarray
    spoken: list[Spoken]
    phones: list[Phone]

    @property
    def words(self) -> list[Word]:
        return [s.word for s in self.spoken]


def silence(rng: np.random.Generator) -> float:
    """Seconds between two turns."""
    kind = rng.random()
    if kind < 0.45:
        return rng.uniform(0.25, 1.2)
    return rng.uniform(2, 4) if kind < 0.95 else rng.uniform(4, 9)


def turn(utterance: Utterance, rng: np.random.Generator, plan: augment.Plan) -> Utterance:
    """An utterance as it is said: at some speed, sometimes with a hesitation inside."""
    said = augment.random_speed(utterance, rng, plan)
    if len(said.words) > 2 and rng.random() < HESITATION:
        word = int(rng.integers(1, len(said.words)))
        said = augment.split(said, word, rng.uniform(*HESITATION_SECONDS))
    return said


def order(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Every index once, then again in another order, for ever."""
    while True:
        yield from map(int, rng.permutation(count))


def compose(
    corpus: Corpus, indices: Iterator[int], rng: np.random.Generator, plan: augment.Plan
) -> Sequence:
    """The next turns of the corpus, recorded one after the other."""
    pcm = np.zeros(FRAMES * FRAME_SIZE, np.float32)
    spoken: list[Spoken] = []
    phones: list[Phone] = []
    at = 0.0 if rng.random() < 0.15 else rng.uniform(0.05, 1.2)
    while at < FRAMES / FRAME_RATE + VAD_HORIZONS[-1]:
        said = turn(corpus[next(indices)], rng, plan)
        first = round(at * SAMPLE_RATE)
        room = max(0, len(pcm) - first)
        pcm[first : first + len(said.pcm)] += said.pcm[:room] * level(rng)
        words = [Word(w.text, w.start + at, w.end + at) for w in said.words]
        spoken += [Spoken(word, words[0].start) for word in words]
        phones += [Phone(p.name, p.start + at) for p in said.phones]
        at += len(said.pcm) / SAMPLE_RATE + silence(rng)
    return Sequence(augment.corrupt(pcm, rng, plan)[0], spoken, phones)


def level(rng: np.random.Generator) -> float:
    """One speaker is louder than another."""
    return augment.decibels(rng.uniform(-6, 3))
