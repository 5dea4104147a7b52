"""Runs a model over the samples of a data set and scores what it makes of them."""

import time
from collections.abc import Callable

import numpy as np

from ..models import SpeechToText
from ..models.events import Event, Word
from ..models.locate import DEMO
from ..runtime.audio import read_audio
from ..runtime.errors import UsageError
from .choices import Normalizer
from .datasets import Sample, read_samples, resampled
from .scores import Score
from .scores import normalizer as make_normalizer

SAMPLES = DEMO / "samples"
Wrong = tuple[str, str, str]
"""A sample that was not right: its name, the text, what was found."""


def score_samples(
    model: SpeechToText,
    dataset: str,
    *,
    normalizer: Normalizer,
    limit: int | None,
    progress: Callable[[str, int, int], None],
) -> tuple[Score, list[Wrong]]:
    """The score over a data set, and the samples that were not right."""
    score = Score(make_normalizer(normalizer))
    wrong: list[Wrong] = []
    for index, sample in enumerate(read_samples(dataset, limit), 1):
        pcm = _samples(sample, model.sample_rate)
        started = time.perf_counter()
        events = _transcribe(model, pcm)
        taken = time.perf_counter() - started
        if not score.add(sample, events, len(pcm) / model.sample_rate, taken):
            found = " ".join(event.text for event in events if isinstance(event, Word))
            name = str(index) if isinstance(sample.audio, tuple) else str(sample.audio)
            wrong.append((name, sample.text, found))
        progress(f"{100 * score.word_error_rate:.2f} % word error", index, limit or 0)
    if not score.samples:
        raise UsageError(f"--dataset {dataset}: no samples in it")
    return score, wrong


def _samples(sample: Sample, sample_rate: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    if isinstance(sample.audio, tuple):
        return resampled(sample.audio, sample_rate)
    return np.concatenate(list(read_audio(sample.audio, sample_rate)))


def _transcribe(model: SpeechToText, pcm: np.ndarray) -> list[Event]:
    stream = model.stream()
    return [*stream.feed(pcm), *stream.flush()]
