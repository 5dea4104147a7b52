"""Measure a checkpoint on an evaluation set, through Moshi's streaming loop.

Run: `python -m training.evaluate --checkpoint training/stt-demo-en --set training/sets/a`

Prints word errors, word times, pauses, and the voices with the most errors.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training import augment, quantise
from training.config import SAMPLE_RATE
from training.corpus import Corpus
from training.espeak import Utterance
from training.score import Score
from training.sequences import HESITATION_SECONDS
from training.sets import Recording, read_set
from training.transcriber import Transcriber

TAIL = 3.0


def of_corpus(work: Path, name: str) -> list[Recording]:
    """The clean utterances of a shard of the corpora."""
    corpus = Corpus(work / "corpus", (name,))
    spoken = [corpus[i] for i in range(len(corpus))]
    return [Recording("", u.text, corpus.voice(i), u.words, u.pcm) for i, u in enumerate(spoken)]


def noisy(recording: Recording, snr: float, rng: np.random.Generator) -> Recording:
    """With white noise `snr` dB under the voice, lasting 1.5 s longer than it."""
    pcm = np.pad(recording.pcm, (0, round(1.5 * SAMPLE_RATE)))
    level = augment.loudness(recording.pcm) * augment.decibels(-snr)
    noise = level * rng.standard_normal(len(pcm)).astype(np.float32)
    return replace(recording, pcm=pcm + noise)


def hesitant(recording: Recording, rng: np.random.Generator) -> Recording:
    """With a silence of 0.3 to 1.2 s before one of the words but the first."""
    if len(recording.words) < 3:
        return recording
    word = int(rng.integers(1, len(recording.words)))
    spoken = Utterance(recording.pcm, recording.words, [])
    spoken = augment.split(spoken, word, rng.uniform(*HESITATION_SECONDS))
    return replace(recording, pcm=spoken.pcm, words=spoken.words)


def score(transcriber: Transcriber, recordings: list[Recording]) -> Score:
    result = Score()
    heard = transcriber.transcribe([r.pcm for r in recordings], TAIL)
    for recording, output in zip(recordings, heard, strict=True):
        words = output.words(transcriber.tokenizer)
        result.add(recording.words, words, output.done, recording.voice)
    return result


def mistakes(transcriber: Transcriber, recordings: list[Recording], count: int) -> list[str]:
    """Some of the sentences that were not heard right, for a human reader."""
    lines = []
    for recording, output in zip(
        recordings, transcriber.transcribe([r.pcm for r in recordings]), strict=True
    ):
        heard = " ".join(w.text for w in output.words(transcriber.tokenizer))
        if heard != recording.text:
            lines.append(f"{recording.voice}: {recording.text} -> {heard}")
    return lines[:count]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--set", type=Path, help="a folder with a manifest")
    source.add_argument("--corpus", help="the name of a shard of the corpora in --work")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--count", type=int, help="only so many recordings")
    parser.add_argument("--gain", type=float, default=0.0, help="dB")
    parser.add_argument("--snr", type=float, help="add white noise, dB under the voice")
    parser.add_argument("--hesitate", action="store_true", help="insert a silence into each")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--weights", choices=list(quantise.FORMATS), help="round the weights")
    parser.add_argument("--mistakes", type=int, default=0, help="print so many")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    transcriber = Transcriber(chosen.checkpoint, getattr(torch, chosen.dtype))
    if chosen.weights:
        quantise.round_weights(transcriber.lm, quantise.FORMATS[chosen.weights])
    recordings = read_set(chosen.set) if chosen.set else of_corpus(chosen.work, chosen.corpus)
    recordings, rng = recordings[: chosen.count], np.random.default_rng(3)
    if chosen.hesitate:
        recordings = [hesitant(r, rng) for r in recordings]
    if chosen.snr is not None:
        recordings = [noisy(r, chosen.snr, rng) for r in recordings]
    gain = augment.decibels(chosen.gain)
    recordings = [replace(r, pcm=(gain * r.pcm).astype(np.float32)) for r in recordings]
    result = score(transcriber, recordings)
    figures = result.figures() | {"worst_voices": result.worst_voices()}
    print(json.dumps(figures, indent=2))
    print(*mistakes(transcriber, recordings, chosen.mistakes), sep="\n")


if __name__ == "__main__":
    main()
