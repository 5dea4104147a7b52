"""Turn long recordings into what the language model reads: codes, text, VAD classes, phonemes.

Run: `python -m training.codes --work DIR`
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from moshi.models import MimiModel, loaders

from training import augment, export, shards, tokenizer
from training.config import CODEBOOKS, FRAME_SIZE, MIMI, PHONES_PER_FRAME
from training.corpus import ENGLISH, Corpus
from training.layout import phone_labels, text_tokens, vad_classes
from training.sequences import FRAMES, compose, order

BATCH = 20


@dataclass(frozen=True)
class Shard:
    """`count` sequences from the corpora named."""

    corpora: tuple[str, ...]
    count: int
    seed: int


SHARDS = {f"train-{i}": Shard(ENGLISH, 1_000, 40 + i) for i in range(6)} | {
    "validation-heard": Shard(("validation-heard",), 80, 60),
    "validation-unheard": Shard(("validation-unheard",), 80, 61),
}


def train_names() -> list[str]:
    return [name for name in SHARDS if name.startswith("train")]


@torch.no_grad()
def stream(mimi: MimiModel, sound: np.ndarray) -> np.ndarray:
    """[batch, frames * 1920] -> codes [batch, 8, frames], one frame at a time: what a transcriber
    hears. Whole sequences give slightly other codes once the encoder's context is full."""
    frames = torch.from_numpy(sound)[:, None].split(FRAME_SIZE, 2)
    with mimi.streaming(len(sound)):
        codes = torch.cat([mimi.encode(frame) for frame in frames], 2)
    return codes.numpy().astype(np.uint8)


def write(work: Path, name: str) -> None:
    """Compose, encode with the exported codec, and save one shard."""
    torch.set_num_threads(1)
    shard = SHARDS[name]
    mimi = loaders.get_mimi(work / "checkpoint" / export.MIMI_NAME, MIMI, num_codebooks=CODEBOOKS)
    ids = json.loads((work / "phones.json").read_text())
    pieces = tokenizer.load(work)
    corpus = Corpus(work / "corpus", shard.corpora)
    rng, plan = np.random.default_rng(shard.seed), augment.Plan()
    indices = order(len(corpus), rng)
    rows: dict[str, list[np.ndarray]] = {"codes": [], "text": [], "vad": [], "phones": []}
    for _ in range(shard.count // BATCH):
        batch = [compose(corpus, indices, rng, plan) for _ in range(BATCH)]
        rows["codes"] += list(stream(mimi, np.stack([s.pcm for s in batch])))
        for sequence in batch:
            labels = phone_labels(sequence.phones, ids, 0, FRAMES * PHONES_PER_FRAME)
            text = text_tokens(sequence.words, FRAMES, pieces)
            rows["text"].append(text.astype(np.int16))
            rows["vad"].append(vad_classes(sequence.spoken, FRAMES).astype(np.int8))
            rows["phones"].append(labels.reshape(FRAMES, -1).astype(np.int16))
    part = work / "codes" / f"{name}.part.npz"
    np.savez(part, **{key: np.stack(values) for key, values in rows.items()})
    part.rename(work / "codes" / f"{name}.npz")


def read(work: Path, names: list[str]) -> dict[str, torch.Tensor]:
    """Shards one after the other: codes [n, 8, 200], text [n, 200], vad and phones [n, 200, 4]."""
    shards = [np.load(work / "codes" / f"{name}.npz") for name in names]
    return {
        key: torch.from_numpy(np.concatenate([s[key] for s in shards])).long()
        for key in ("codes", "text", "vad", "phones")
    }


def build(work: Path) -> None:
    shards.build_missing(write, work, "codes", SHARDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    build(parser.parse_args().work)
