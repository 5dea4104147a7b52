"""Recordings of data sets, encoded once, and what a bundle makes of them, many side by side."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyutai_onnx.cli.evaluation.datasets import Sample, read_samples
from kyutai_onnx.cli.load import read_whole
from kyutai_onnx.export.verification.quality_gate import ScoredTranscript, ScoringTask
from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.events import Event, Word
from training import augment

Array = np.ndarray[Any, Any]
ROWS = 64
AFTER = 1.5
"""Seconds that noise goes on after the voice."""


@dataclass(frozen=True)
class Condition:
    """A data set, and the white noise in it: decibels under the voice, None for none."""

    dataset: str
    snr: float | None = None

    def __str__(self) -> str:
        name = "/".join(Path(self.dataset).parts[-2:])
        return name if self.snr is None else f"{name}, {self.snr:g} dB"


@dataclass(frozen=True)
class Recording:
    sample: Sample
    codes: Array
    """Int64 `[frames, codebooks]`, the silence after the voice included."""


def encode(
    model: SpeechToText, condition: Condition, limit: int | None, cache: Path
) -> list[Recording]:
    """The recordings of a set as the model's codec encodes them, kept in a folder."""
    samples = list(read_samples(condition.dataset, limit))
    key = hashlib.sha256(f"{condition!r} {limit} {len(samples)}".encode()).hexdigest()[:16]
    kept = cache / f"codes-{key}.npz"
    if not kept.exists():
        noise = np.random.default_rng(3)
        codes_read = [
            _codes(model, _audio(model, sample, condition.snr, noise)) for sample in samples
        ]
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, *codes_read)
    with np.load(kept) as arrays:
        return [Recording(sample, arrays[f"arr_{index}"]) for index, sample in enumerate(samples)]


def _audio(
    model: SpeechToText, sample: Sample, snr: float | None, noise: np.random.Generator
) -> Array:
    assert isinstance(sample.audio, Path)
    pcm = read_whole(sample.audio, model.sample_rate)
    if snr is None:
        return pcm
    level = augment.loudness(pcm) * augment.decibels(-snr)
    pcm = np.pad(pcm, (0, round(AFTER * model.sample_rate)))
    noisy: Array = pcm + np.float32(level) * noise.standard_normal(len(pcm), np.float32)
    return noisy


def _codes(model: SpeechToText, pcm: Array) -> Array:
    task, spec = model.task(), model.language_model.spec
    task.feed(pcm)
    task.end()
    frames = task.queue.frames(task.queue.unencoded)
    return model.mimi.stream("encode", spec.n_q - spec.dep_q).encode(frames).T


def transcribe_all(
    model: SpeechToText, recordings: Sequence[Recording]
) -> Iterator[tuple[list[int], list[ScoredTranscript], list[list[Event]]]]:
    """In groups of like length: which recordings, what was said of each, and its events."""
    order = sorted(range(len(recordings)), key=lambda index: len(recordings[index].codes))
    for first in range(0, len(order), ROWS):
        group = order[first : first + ROWS]
        yield group, *_together(model, [recordings[index].codes for index in group])


def _together(
    model: SpeechToText, codes: Sequence[Array]
) -> tuple[list[ScoredTranscript], list[list[Event]]]:
    batch, most = model.batch(len(codes)), model.language_model.spec.context
    tasks = [ScoringTask(model, most) for _ in codes]
    rows = [batch.join(task) for task in tasks]
    for row, one in zip(rows, codes, strict=True):
        row.task.queue.give(one)
        row.end()
    while batch.step():
        pass
    events = [row.events() for row in rows]
    for task, found in zip(tasks, events, strict=True):
        task.transcript.words = sum(isinstance(event, Word) for event in found)
    return [task.transcript for task in tasks], events


def conditions(datasets: Iterable[str], snrs: Iterable[float]) -> list[Condition]:
    """Every set without noise, and with each."""
    levels = [None, *snrs]
    return [Condition(dataset, snr) for dataset in datasets for snr in levels]
