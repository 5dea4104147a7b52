"""Pairs of a French number, in many voices, and the same number in English, in the demo's voice.

Run: `python -m training.french --work DIR`
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from training import augment, grammar, shards, speaker, voices
from training.config import FRAME_RATE, FRAME_SIZE, PHONES_PER_FRAME
from training.corpus import any_voice
from training.espeak import Espeak, Utterance
from training.layout import phone_labels
from training.speaker import Spoken, Words

TAIL_FRAMES = 8
PLAN = augment.Plan(
    speed=0.5, room=0.05, tilt=0.3, band=0.1, noise=0.3, codec=0, snr=(15, 45), gain=(-12, 3)
)


def english_number(n: int) -> Words:
    """The words of 0 <= n < 10 000, without "and"."""
    return [word for word in grammar.number(Random(0), n) if word != "and"]


def bucket(n: int) -> str:
    """Numbers from 100 on are dealt to the parts by a hash; smaller ones are all trained on."""
    digest = hashlib.md5(str(n).encode(), usedforsecurity=False).digest()
    return {0: "test", 1: "validation"}.get(digest[0] % 10, "train") if n >= 100 else "train"


def draw_number(rng: Random) -> int:
    return rng.randint(0, 10 ** rng.choice([2, 3, 4, 4]) - 1)


@dataclass(frozen=True)
class Pair:
    """Codes [8, frames] and phonemes [frames, 4] of a French number that ends in frame `end`,
    with silence after it, and the same in English."""

    number: int
    end: int
    codes: np.ndarray
    phones: np.ndarray
    target: Spoken


@dataclass(frozen=True)
class Shard:
    """`count` numbers of one part, said by voices drawn by `voice`."""

    count: int
    seed: int
    part: str = "train"
    voice: Callable[[Random], str] = voices.french_voice

    def numbers(self) -> list[int]:
        rng, chosen = Random(self.seed), []
        while len(chosen) < self.count:
            if bucket(n := draw_number(rng)) == self.part:
                chosen.append(n)
        return chosen


SHARDS = {
    "french-validation": Shard(200, 98, "validation"),
    "french-test": Shard(200, 99, "test"),
    "french-test-unheard": Shard(200, 97, "test", voices.french_test_voice),
} | {f"french-{i}": Shard(1_200, 100 + i) for i in range(4)}
TRAIN = [f"french-{i}" for i in range(4)]


def source(engine: Espeak, n: int, rng: Random, voice: Callable[[Random], str]) -> Utterance:
    """A French number as it is said: any speed, pitch and colour, beginning anywhere in a frame."""
    drawn = np.random.default_rng(rng.randrange(2**32))
    said = engine.speak(grammar.french_number(n), any_voice(rng, voice(rng)))
    said = augment.random_speed(speaker.from_onset(said), drawn, PLAN)
    return speaker.from_onset(said, -float(drawn.uniform(0, 1 / FRAME_RATE)))


def recorded(said: Utterance, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Samples of whole frames with silence after the voice, and the frame it ends in."""
    end = int(np.ceil(said.words[-1].end * FRAME_RATE))
    pcm = said.pcm[: end * FRAME_SIZE]
    pcm = np.pad(pcm, (0, (end + TAIL_FRAMES) * FRAME_SIZE - len(pcm)))
    return augment.corrupt(pcm, rng, PLAN)[0], end


def write(work: Path, name: str) -> None:
    torch.set_num_threads(1)
    shard = SHARDS[name]
    numbers, rng, engine = shard.numbers(), Random(shard.seed), Espeak()
    noise = np.random.default_rng(shard.seed)
    said = [source(engine, n, rng, shard.voice) for n in numbers]
    sounds = [recorded(utterance, noise) for utterance in said]
    codes = speaker.encode(speaker.codec(work), [pcm for pcm, _ in sounds])
    ids = json.loads((work / "phones.json").read_text())
    phones = [
        phone_labels(u.phones, ids, 0, row.shape[1] * PHONES_PER_FRAME).reshape(-1, 4)
        for u, row in zip(said, codes, strict=True)
    ]
    unique = sorted(set(numbers))
    speaker.save(work / "speech" / f"{name}-english.npz", english(work, unique))
    part = work / "speech" / f"{name}.part.npz"
    np.savez(
        part,
        numbers=numbers,
        places=[unique.index(n) for n in numbers],
        ends=[end for _, end in sounds],
        cuts=np.cumsum([row.shape[1] for row in codes]),
        codes=np.concatenate(codes, 1),
        phones=np.concatenate(phones),
    )
    part.rename(work / "speech" / f"{name}.npz")


def english(work: Path, numbers: list[int]) -> list[Spoken]:
    return speaker.say(work, [english_number(n) for n in numbers])


def read(work: Path, names: list[str]) -> list[Pair]:
    """The pairs of some shards."""
    pairs: list[Pair] = []
    for name in names:
        saved = np.load(work / "speech" / f"{name}.npz")
        said = speaker.read(work, [f"{name}-english"])
        cuts = saved["cuts"][:-1]
        columns = (
            map(int, saved["numbers"]),
            map(int, saved["ends"]),
            np.split(saved["codes"], cuts, axis=1),
            np.split(saved["phones"], cuts),
            (said[place] for place in saved["places"]),
        )
        pairs += [Pair(*fields) for fields in zip(*columns, strict=True)]
    return pairs


def build(work: Path) -> None:
    shards.build_missing(write, work, "speech", SHARDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    build(parser.parse_args().work)
