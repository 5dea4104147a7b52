"""How good transcripts are: word error rate, word times, pauses and speed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import jiwer
import numpy as np

from ...models import SpeechToText
from ...models.events import Event, Pause, Word
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..option_values import Normalizer
from .datasets import Sample, read_samples, samples_of

CLOSE_SECONDS = 0.5
"""How near the end of a sentence its pause must be reported."""


def normalizer(kind: Normalizer) -> Callable[[str], str]:
    """Return Whisper's normalization of texts: case, punctuation, and for English numbers,
    contractions and spelling."""
    if kind is Normalizer.NONE:
        return lambda text: text
    if kind is Normalizer.BASIC:
        from whisper_normalizer.basic import BasicTextNormalizer

        basic: Callable[[str], str] = BasicTextNormalizer()
        return basic
    from whisper_normalizer.english import EnglishTextNormalizer

    english: Callable[[str], str] = EnglishTextNormalizer()
    return english


@dataclass
class Score:
    """Sums over samples. Times are in seconds."""

    normalize: Callable[[str], str]
    samples: int = 0
    errors: int = 0
    words: int = 0
    character_errors: int = 0
    characters: int = 0
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    start_errors: list[float] = field(default_factory=list)
    pauses_found: int = 0
    pauses_false: int = 0
    pauses_expected: int = 0

    def add(self, sample: Sample, events: Sequence[Event], audio: float, compute: float) -> bool:
        """Count one sample; returns whether its text was right."""
        found = [event for event in events if isinstance(event, Word)]
        reference = self.normalize(sample.text)
        hypothesis = self.normalize(" ".join(word.text for word in found))
        self.samples += 1
        self.audio_seconds += audio
        self.compute_seconds += compute
        wrong = self._count_errors(reference, hypothesis)
        if sample.words:
            self._count_times(sample.words, found)
            self._count_pauses(sample.words, [e for e in events if isinstance(e, Pause)])
        return not wrong

    def _count_errors(self, reference: str, hypothesis: str) -> int:
        if not reference.strip():
            wrong = len(hypothesis.split())
            self.errors += wrong
            return wrong
        words = jiwer.process_words(reference, hypothesis)
        characters = jiwer.process_characters(reference, hypothesis)
        wrong = words.substitutions + words.deletions + words.insertions
        self.errors += wrong
        self.words += words.substitutions + words.deletions + words.hits
        self.character_errors += (
            characters.substitutions + characters.deletions + characters.insertions
        )
        self.characters += characters.substitutions + characters.deletions + characters.hits
        return wrong

    def _count_times(self, expected: Sequence[Word], found: Sequence[Word]) -> None:
        """Count how far the starts of the right words are off."""
        if not found:
            return
        aligned = jiwer.process_words(_plain(expected), _plain(found))
        for chunk in aligned.alignments[0]:
            if chunk.type == "equal":
                pairs = zip(
                    expected[chunk.ref_start_idx : chunk.ref_end_idx],
                    found[chunk.hyp_start_idx : chunk.hyp_end_idx],
                    strict=True,
                )
                self.start_errors += [ours.start - true.start for true, ours in pairs]

    def _count_pauses(self, expected: Sequence[Word], pauses: Sequence[Pause]) -> None:
        end = expected[-1].end
        self.pauses_expected += 1
        self.pauses_found += any(abs(pause.time - end) <= CLOSE_SECONDS for pause in pauses)
        self.pauses_false += any(pause.time < end - CLOSE_SECONDS for pause in pauses)

    @property
    def word_error_rate(self) -> float:
        return self.errors / self.words if self.words else 0.0

    def as_json(self, has_pauses: bool) -> dict[str, float | int]:
        """Return the figures by name; rates are parts of 1."""
        content: dict[str, float | int] = {
            "samples": self.samples,
            "words": self.words,
            "errors": self.errors,
            "wer": self.word_error_rate,
            "cer": self.character_errors / self.characters if self.characters else 0.0,
            "audio_seconds": self.audio_seconds,
            "compute_seconds": self.compute_seconds,
            "times_real_time": self.audio_seconds / self.compute_seconds,
        }
        if self.start_errors:
            content["mean_start_error"] = float(np.mean(np.abs(self.start_errors)))
            content["mean_start_bias"] = float(np.mean(self.start_errors))
        if self.pauses_expected and has_pauses:
            content["pauses_found"] = self.pauses_found / self.pauses_expected
            content["pauses_false"] = self.pauses_false / self.pauses_expected
        return content

    def lines(self, has_pauses: bool) -> list[str]:
        """Format the figures."""
        figures = self.as_json(has_pauses)
        lines = [
            f"samples              {self.samples} ({self.audio_seconds:.0f} s)",
            f"word error rate      {100 * figures['wer']:.2f} % "
            f"({self.errors} of {self.words} words)",
            f"character error rate {100 * figures['cer']:.2f} %",
            f"speed                {figures['times_real_time']:.1f} x real time",
        ]
        if "mean_start_error" in figures:
            lines.append(
                f"word starts          {figures['mean_start_error']:.3f} s off on average "
                f"(bias {figures['mean_start_bias']:+.3f} s)"
            )
        if "pauses_found" in figures:
            lines.append(
                f"pauses               {100 * figures['pauses_found']:.1f} % found within "
                f"{CLOSE_SECONDS} s of the sentence's end, {100 * figures['pauses_false']:.1f} % "
                "of sentences with a pause too early"
            )
        return lines


def _plain(words: Sequence[Word]) -> str:
    """Return words without case and punctuation, to align them."""
    return " ".join(word.text.lower().strip(".,;:?!") or "-" for word in words)


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
    """Score the samples of a data set one by one; those with errors are added to `wrong`."""
    reader = SampleReader(read_samples(dataset, limit), model.sample_rate)
    started = time.perf_counter()
    for index, events in enumerate(model.together(reader), 1):
        sample, seconds = reader.taken.popleft()
        taken = time.perf_counter() - started - reader.forget_seconds()
        if not score.add(sample, events, seconds, taken):
            found = " ".join(event.text for event in events if isinstance(event, Word))
            name = str(index) if isinstance(sample.audio, tuple) else str(sample.audio)
            wrong.append((name, sample.text, found))
        progress(f"{100 * score.word_error_rate:.2f} % word error", index, limit or 0)
        started = time.perf_counter()
    if not score.samples:
        raise UsageError(f"--dataset {dataset}: it has no samples")


class SampleReader:
    """The audio of samples, read when asked for.

    `taken` are the samples that were read, with their seconds. The time that reading takes is not
    counted for the model.
    """

    def __init__(self, samples: Iterable[Sample], sample_rate: int) -> None:
        self._samples, self._sample_rate = samples, sample_rate
        self._seconds = 0.0
        self.taken: deque[tuple[Sample, float]] = deque()

    def __iter__(self) -> Iterator[Pcm]:
        samples = iter(self._samples)
        while True:
            started = time.perf_counter()
            sample = next(samples, None)
            if sample is None:
                return
            pcm = samples_of(sample, self._sample_rate)
            self._seconds += time.perf_counter() - started
            self.taken.append((sample, len(pcm) / self._sample_rate))
            yield pcm

    def forget_seconds(self) -> float:
        """Return how long reading took since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
