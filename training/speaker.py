"""The one voice that the demo speaks in: sentences, where their words begin, and their codes.

Run: `python -m training.speaker --work DIR`

By default every word begins on a frame of the codec (a little silence is put before it), so that
the same word gives nearly the same codes wherever it stands. The codec restarts, from silence,
for every utterance.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from moshi.models import MimiModel, loaders

from training import augment, export, grammar, shards
from training.codes import stream
from training.config import CODEBOOKS, FRAME_RATE, FRAME_SIZE, MIMI, SAMPLE_RATE
from training.espeak import Espeak, Utterance, Voice

VOICE = Voice("en-us", rate=150, pitch=50, pitch_range=30)
LEAD_FRAMES = 2
TAIL_FRAMES = 8
EARLY = 0.06
BATCH = 40
Words = list[str]


@dataclass(frozen=True)
class Spoken:
    """An utterance: its words, the frames they begin in, the frame after the last, and codes
    [8, frames] from two frames of silence before it to some after it."""

    words: Words
    starts: list[int]
    end: int
    codes: np.ndarray


@dataclass(frozen=True)
class Shard:
    """`count` sentences of one bucket, with their words on the codec's frames or as they come."""

    count: int
    seed: int
    bucket: str = "train"
    on_frames: bool = True
    sentence: Callable[[Random], Words] = grammar.sentence

    def sentences(self) -> list[Words]:
        rng, chosen = Random(self.seed), []
        while len(chosen) < self.count:
            words = self.sentence(rng)
            if grammar.bucket(words) == self.bucket:
                chosen.append(words)
        return chosen


SHARDS = {
    "speech-natural-0": Shard(2_000, 80, on_frames=False),
    "speech-natural-1": Shard(2_000, 81, on_frames=False),
    "speech-validation": Shard(200, 90, "validation"),
    "speech-natural-validation": Shard(200, 90, "validation", on_frames=False),
} | {f"speech-{i}": Shard(2_000, 80 + i) for i in range(6)}


def frame(seconds: float) -> float:
    return seconds * FRAME_RATE


def on_frames(spoken: Utterance) -> Utterance:
    """Put silence before words until each begins on a frame. Words that espeak-ng runs together
    (no phoneme begins where they do) stay together."""
    phones = {round(p.start, 4) for p in spoken.phones}
    for index, word in enumerate(spoken.words):
        at = frame(spoken.words[index].start)
        missing = np.ceil(at - EARLY) - at
        if index and missing > EARLY and round(word.start, 4) in phones:
            spoken = augment.split(spoken, index, missing / FRAME_RATE)
            phones = {round(p.start, 4) for p in spoken.phones}
    return spoken


def speak(engine: Espeak, words: Words, aligned: bool) -> tuple[np.ndarray, list[int], int]:
    """Samples from two frames of silence on, the frames that words begin in, and the end."""
    spoken = from_onset(engine.speak(words, VOICE))
    if aligned:
        spoken = on_frames(spoken)
    starts = [LEAD_FRAMES + int(frame(w.start) + EARLY) for w in spoken.words]
    end = LEAD_FRAMES + int(np.ceil(frame(spoken.words[-1].end)))
    pcm = np.pad(spoken.pcm, (LEAD_FRAMES * FRAME_SIZE, 0))[: (end + 1) * FRAME_SIZE]
    return np.pad(pcm, (0, (end + TAIL_FRAMES) * FRAME_SIZE - len(pcm))), starts, end


def from_onset(spoken: Utterance, late: float = 0.0) -> Utterance:
    """The utterance from its first word on; that many seconds after (or before) its onset."""
    first = spoken.words[0].start + late
    cut = round(first * SAMPLE_RATE)
    return Utterance(
        np.pad(spoken.pcm[max(0, cut) :], (max(0, -cut), 0)),
        [replace(w, start=w.start - first, end=w.end - first) for w in spoken.words],
        [replace(p, start=p.start - first) for p in spoken.phones],
    )


def encode(mimi: MimiModel, sounds: list[np.ndarray]) -> list[np.ndarray]:
    """Codes [8, frames] of sounds of whole frames, near lengths together."""
    codes: list[np.ndarray] = [np.empty(0)] * len(sounds)
    order = sorted(range(len(sounds)), key=lambda i: len(sounds[i]))
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        longest = max(len(sounds[i]) for i in rows)
        batch = np.stack([np.pad(sounds[i], (0, longest - len(sounds[i]))) for i in rows])
        for i, row in zip(rows, stream(mimi, batch), strict=True):
            codes[i] = row[:, : len(sounds[i]) // FRAME_SIZE]
    return codes


def codec(work: Path) -> MimiModel:
    return loaders.get_mimi(work / "checkpoint" / export.MIMI_NAME, MIMI, num_codebooks=CODEBOOKS)


def say(work: Path, sentences: list[Words], aligned: bool = True) -> list[Spoken]:
    engine = Espeak()
    said = [speak(engine, words, aligned) for words in sentences]
    codes = encode(codec(work), [pcm for pcm, _, _ in said])
    return [
        Spoken(words, starts, end, row)
        for words, (_, starts, end), row in zip(sentences, said, codes, strict=True)
    ]


def write(work: Path, name: str) -> None:
    torch.set_num_threads(1)
    shard = SHARDS[name]
    save(work / "speech" / f"{name}.npz", say(work, shard.sentences(), shard.on_frames))


def save(path: Path, spoken: list[Spoken]) -> None:
    lines = [json.dumps([s.words, s.starts, s.end]) for s in spoken]
    ends = np.cumsum([s.codes.shape[1] for s in spoken])
    part = path.with_suffix(".part.npz")
    np.savez(part, codes=np.concatenate([s.codes for s in spoken], 1), ends=ends, lines=lines)
    part.rename(path)


def read(work: Path, names: list[str]) -> list[Spoken]:
    """The utterances of some shards."""
    found: list[Spoken] = []
    for name in names:
        saved = np.load(work / "speech" / f"{name}.npz")
        codes = np.split(saved["codes"], saved["ends"][:-1], axis=1)
        lines = map(json.loads, saved["lines"])
        found += [Spoken(*line, row) for line, row in zip(lines, codes, strict=True)]
    return found


def train_names(aligned: bool = True) -> list[str]:
    def wanted(shard: Shard) -> bool:
        return shard.bucket == "train" and shard.on_frames == aligned

    return [name for name, shard in SHARDS.items() if wanted(shard)]


def build(work: Path) -> None:
    shards.build_missing(write, work, "speech", SHARDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    build(parser.parse_args().work)
