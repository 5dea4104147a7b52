"""Runs a model over the samples of a data set and scores what it makes of them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ...models import SpeechToText
from ...models.events import Word
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..load import read_whole
from .datasets import Sample, read_samples, resampled
from .scores import Score

Wrong = tuple[str, str, str]
"""A sample that was not right: its name, the text, what was found."""


def score_samples(
    model: SpeechToText,
    dataset: str,
    score: Score,
    wrong: list[Wrong],
    limit: int | None,
    progress: Callable[[str, int, int], None],
) -> None:
    """Scores the samples of a data set one by one; adds those that are not right to `wrong`."""
    reader = Reader(read_samples(dataset, limit), model.sample_rate)
    told = time.perf_counter()
    for index, events in enumerate(model.together(reader), 1):
        sample, seconds = reader.heard.popleft()
        taken = time.perf_counter() - told - reader.forget_seconds()
        if not score.add(sample, events, seconds, taken):
            found = " ".join(event.text for event in events if isinstance(event, Word))
            name = str(index) if isinstance(sample.audio, tuple) else str(sample.audio)
            wrong.append((name, sample.text, found))
        progress(f"{100 * score.word_error_rate:.2f} % word error", index, limit or 0)
        told = time.perf_counter()
    if not score.samples:
        raise UsageError(f"--dataset {dataset}: no samples in it")


class Reader:
    """The audio of samples as it is asked for; `heard` are those that were given away, with their
    seconds. The time that reading takes is not the model's."""

    def __init__(self, samples: Iterable[Sample], sample_rate: int) -> None:
        self._samples, self._sample_rate = samples, sample_rate
        self._seconds = 0.0
        self.heard: deque[tuple[Sample, float]] = deque()

    def __iter__(self) -> Iterator[Pcm]:
        samples = iter(self._samples)
        while True:
            started = time.perf_counter()
            sample = next(samples, None)
            if sample is None:
                return
            pcm = _samples(sample, self._sample_rate)
            self._seconds += time.perf_counter() - started
            self.heard.append((sample, len(pcm) / self._sample_rate))
            yield pcm

    def forget_seconds(self) -> float:
        """How long reading took since the last time."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _samples(sample: Sample, sample_rate: int) -> Pcm:
    if isinstance(sample.audio, tuple):
        return resampled(sample.audio, sample_rate)
    return read_whole(sample.audio, sample_rate)
