"""Corpora of synthesised utterances: one raw 16-bit PCM file and one JSON line per utterance.

Run: `python -m training.corpus --work DIR`
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from training import grammar, shards, voices
from training.espeak import Espeak, Phone, Utterance, Voice, Word

RARE_PHONE = 200


class Corpus:
    """Utterances read from disk one at a time."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._entries: list[tuple[np.ndarray, dict]] = []
        for name in names:
            pcm = np.memmap(folder / f"{name}.pcm", dtype=np.int16, mode="r")
            lines = (folder / f"{name}.jsonl").read_text().splitlines()
            self._entries += [(pcm, json.loads(line)) for line in lines]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def phone_names(self) -> Iterator[str]:
        return (name for _, entry in self._entries for name, _ in entry["phones"])

    def voice(self, index: int) -> str:
        return self._entries[index][1]["voice"]

    def __getitem__(self, index: int) -> Utterance:
        pcm, entry = self._entries[index]
        first = entry["offset"]
        samples = pcm[first : first + entry["samples"]].astype(np.float32) / 32768
        words = [Word(*w) for w in entry["words"]]
        return Utterance(samples, words, [Phone(*p) for p in entry["phones"]])


Draw = Callable[[Random], str]


@dataclass(frozen=True)
class Shard:
    """A part of a corpus: `count` sentences of one bucket, in the voices drawn by `voice`."""

    count: int
    seed: int
    voice: Draw
    bucket: str = "train"
    sentence: Callable[[Random], list[str]] = grammar.sentence

    def utterances(self) -> Iterator[tuple[Utterance, Voice]]:
        rng, engine = Random(self.seed), Espeak()
        for _ in range(self.count):
            while grammar.bucket(words := self.sentence(rng)) != self.bucket:
                pass
            voice = any_voice(rng, self.voice(rng))
            yield engine.speak(words, voice), voice


ENGLISH = ("english-0", "english-1")
FRENCH = ("french",)
SHARDS = {
    "english-0": Shard(22_000, 1, voices.train_voice),
    "english-1": Shard(22_000, 2, voices.train_voice),
    "french": Shard(5_000, 3, voices.french_voice, sentence=grammar.french_sentence),
    "validation-heard": Shard(600, 4, voices.train_voice, "validation"),
    "validation-unheard": Shard(600, 5, voices.validation_voice, "validation"),
}


def any_voice(rng: Random, name: str) -> Voice:
    """A voice speaking at a random speed and pitch."""
    return Voice(
        name,
        rate=rng.randint(115, 235),
        pitch=rng.randint(20, 80),
        pitch_range=rng.randint(20, 80),
        gap=rng.choice([0, 0, 0, 1, 3]),
    )


def write(folder: Path, name: str) -> None:
    """Synthesise one shard into `folder`."""
    offset, part = 0, folder / f"{name}.part"
    with (folder / f"{name}.pcm").open("wb") as pcm, part.open("w") as lines:
        for spoken, voice in SHARDS[name].utterances():
            samples = (np.clip(spoken.pcm, -1, 1) * 32767).astype(np.int16)
            samples.tofile(pcm)
            entry = {
                "voice": voice.name,
                "offset": offset,
                "samples": len(samples),
                "words": [(w.text, round(w.start, 4), round(w.end, 4)) for w in spoken.words],
                "phones": [(p.name, round(p.start, 4)) for p in spoken.phones],
            }
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            offset += len(samples)
    part.rename(folder / f"{name}.jsonl")


def phone_ids(corpus: Corpus) -> dict[str, int]:
    """Ids from 1 for the phonemes heard often enough; 0 stands for silence and the rest."""
    counts = Counter(corpus.phone_names)
    common = [name for name, n in counts.most_common() if n > RARE_PHONE]
    return {name: i + 1 for i, name in enumerate(n for n in common if not n.startswith("_"))}


def build(work: Path) -> None:
    folder = work / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in SHARDS if not (folder / f"{name}.jsonl").exists()]
    shards.build(write, folder, missing)
    phones = phone_ids(Corpus(folder, ENGLISH + FRENCH))
    (work / "phones.json").write_text(json.dumps(phones, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    build(parser.parse_args().work)
