"""Clean utterances beside their codes, for the decoder to learn from.

Run: `python -m training.takes --work DIR`

The codes are made once, since the encoder no longer changes: every utterance at one random speed
and level.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders

from training import augment, export, shards
from training.codes import stream
from training.config import CODEBOOKS, FRAME_SIZE, MIMI
from training.corpus import ENGLISH, FRENCH, Corpus

SEED = 300
BATCH = 40
UNHEARD = "validation-unheard"
PLAN = augment.Plan()
LEAD_FRAMES = 4
TAIL_FRAMES = 4
LEVEL = (-12.0, 3.0)


def recording(corpus: Corpus, name: str, index: int) -> np.ndarray:
    """The samples of a take, in whole frames: always the same for the same utterance."""
    rng = np.random.default_rng([SEED, sum(name.encode()), index])
    spoken = augment.random_speed(corpus[index], rng, PLAN)
    lead = int(rng.integers(LEAD_FRAMES * FRAME_SIZE))
    pcm = augment.decibels(rng.uniform(*LEVEL)) * np.clip(spoken.pcm, -1, 1)
    frames = -(-(lead + len(pcm)) // FRAME_SIZE) + TAIL_FRAMES
    return np.pad(pcm, (lead, frames * FRAME_SIZE - lead - len(pcm))).astype(np.float32)


class Takes:
    """Recordings and their codes, read from disk one at a time."""

    def __init__(self, work: Path, names: tuple[str, ...]) -> None:
        self._rows: list[tuple[Corpus, str, int, np.ndarray]] = []
        for name in names:
            corpus = Corpus(work / "corpus", (name,))
            saved = np.load(work / "takes" / f"{name}.npz")
            codes = np.split(saved["codes"], saved["ends"][:-1], axis=1)
            self._rows += [(corpus, name, i, row) for i, row in enumerate(codes)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples [frames * 1920] and codes [8, frames]."""
        corpus, name, row, codes = self._rows[index]
        return recording(corpus, name, row), codes


def write(work: Path, name: str) -> None:
    torch.set_num_threads(1)
    mimi = loaders.get_mimi(work / "checkpoint" / export.MIMI_NAME, MIMI, num_codebooks=CODEBOOKS)
    corpus = Corpus(work / "corpus", (name,))
    codes: list[np.ndarray] = []
    for first in range(0, len(corpus), BATCH):
        indices = range(first, min(first + BATCH, len(corpus)))
        batch = [recording(corpus, name, index) for index in indices]
        longest = max(map(len, batch))
        rows = stream(mimi, np.stack([np.pad(pcm, (0, longest - len(pcm))) for pcm in batch]))
        codes += [r[:, : len(pcm) // FRAME_SIZE] for r, pcm in zip(rows, batch, strict=True)]
    ends = np.cumsum([row.shape[1] for row in codes])
    part = work / "takes" / f"{name}.part.npz"
    np.savez(part, codes=np.concatenate(codes, 1), ends=ends)
    part.rename(work / "takes" / f"{name}.npz")


def build(work: Path) -> None:
    shards.build_missing(write, work, "takes", (*ENGLISH, *FRENCH, UNHEARD))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    build(parser.parse_args().work)
