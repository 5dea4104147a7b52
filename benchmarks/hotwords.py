"""What hotwords gain and cost: names found and names made up by the demo, in noise.

python -m benchmarks.hotwords --snr 8 --bonus 0 1 2 3 5
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np

from kyutai_onnx.cli.evaluation.datasets import Sample, read_samples, samples_of
from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.runtime.audio import Pcm
from training.grammar import CITIES, NAMES

SETS = (Path("training/sets/a"), Path("training/sets/b"))
OTHERS = 60
"""Sentences of each set without a name."""

ROWS = 16


def chosen() -> Iterator[Sample]:
    """Yield the sentences with a name, and some of the others."""
    names = {*NAMES, *CITIES}
    for folder in SETS:
        others = 0
        for sample in read_samples(str(folder)):
            named = bool(names & set(sample.text.split()))
            others += not named
            if named or others <= OTHERS:
                yield sample


def in_noise(pcm: Pcm, snr: float) -> Pcm:
    """Add white noise, so many decibels under the speech; always the same."""
    noise = np.random.default_rng(1).standard_normal(len(pcm))
    level = np.sqrt(np.mean(pcm**2) / 10 ** (snr / 10))
    return np.clip(pcm + noise * level, -1, 1).astype(np.float32)


def measure(model: SpeechToText, audio: list[Pcm], texts: list[str], hotwords: str) -> Counter[str]:
    """Count words wrong, and names that are missed and made up."""
    names, found = {*NAMES, *CITIES}, Counter[str]()
    for text, events in zip(texts, model.together(audio, ROWS, hotwords=hotwords), strict=True):
        words = [event.text for event in events if isinstance(event, Word)]
        errors = jiwer.process_words(text, " ".join(words))
        expected, recognized = (
            Counter(word for word in some if word in names) for some in (text.split(), words)
        )
        found["words"] += len(text.split())
        found["wrong"] += errors.substitutions + errors.deletions + errors.insertions
        found["names"] += expected.total()
        found["missed"] += (expected - recognized).total()
        found["made up"] += (recognized - expected).total()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snr", type=float, default=8.0, help="decibels")
    parser.add_argument("--bonus", type=float, nargs="+", default=[0.0, 1.0, 2.0, 3.0, 5.0])
    given = parser.parse_args()
    model, samples = SpeechToText.load(), list(chosen())
    audio = [in_noise(samples_of(sample, model.sample_rate), given.snr) for sample in samples]
    texts = [sample.text for sample in samples]
    for bonus in given.bonus:
        hotwords = ",".join(f"{name}:{bonus}" for name in (*NAMES, *CITIES))
        print(f"bonus {bonus:g}: {dict(measure(model, audio, texts, hotwords))}", flush=True)


if __name__ == "__main__":
    main()
