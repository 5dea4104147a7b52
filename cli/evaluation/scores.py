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
from ..option_values import Normalizer
from .datasets import Sample, samples_of

CLOSE_SECONDS = 0.5
"""How near the end of a sentence its pause must be reported."""

DIGITS = 6
"""How many digits of a figure are printed as JSON."""


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
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0
    character_errors: int = 0
    characters: int = 0
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    start_errors: list[float] = field(default_factory=list)
    pauses_found: int = 0
    pauses_false: int = 0
    pauses_expected: int = 0

    def add(
        self, sample: Sample, events: Sequence[Event], audio: float, compute: float
    ) -> "Hypothesis":
        """Count one sample; returns its text beside what was found."""
        found = [event for event in events if isinstance(event, Word)]
        text = " ".join(word.text for word in found)
        self.samples += 1
        self.audio_seconds += audio
        self.compute_seconds += compute
        counts = self._count_errors(self.normalize(sample.text), self.normalize(text))
        if sample.words:
            self._count_times(sample.words, found)
            self._count_pauses(sample.words, [e for e in events if isinstance(e, Pause)])
        name = str(self.samples) if isinstance(sample.audio, tuple) else str(sample.audio)
        return Hypothesis(name, sample.text, text, *counts)

    def _count_errors(self, reference: str, hypothesis: str) -> tuple[int, int, int]:
        """Count substitutions, deletions and insertions, and return those of this sample."""
        if not reference.strip():
            inserted = len(hypothesis.split())
            self.insertions += inserted
            return 0, 0, inserted
        words = jiwer.process_words(reference, hypothesis)
        characters = jiwer.process_characters(reference, hypothesis)
        self.substitutions += words.substitutions
        self.deletions += words.deletions
        self.insertions += words.insertions
        self.words += words.substitutions + words.deletions + words.hits
        self.character_errors += (
            characters.substitutions + characters.deletions + characters.insertions
        )
        self.characters += characters.substitutions + characters.deletions + characters.hits
        return words.substitutions, words.deletions, words.insertions

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
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def word_error_rate(self) -> float:
        return self.errors / self.words if self.words else 0.0

    def as_json(self, has_pauses: bool) -> dict[str, float | int]:
        """Return the figures by name; rates are parts of 1."""
        content: dict[str, float | int] = {
            "samples": self.samples,
            "words": self.words,
            "errors": self.errors,
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
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
        return {
            name: value if isinstance(value, int) else round(value, DIGITS)
            for name, value in content.items()
        }

    def lines(self, has_pauses: bool) -> list[str]:
        """Format the figures."""
        figures = self.as_json(has_pauses)
        lines = [
            f"samples              {self.samples} ({self.audio_seconds:.0f} s)",
            f"word error rate      {100 * figures['wer']:.2f} % "
            f"({self.errors} of {self.words} words: {self.substitutions} substituted, "
            f"{self.deletions} deleted, {self.insertions} inserted)",
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


@dataclass(frozen=True)
class Hypothesis:
    """What was found in a sample, beside its text, and how many words of it are wrong."""

    audio: str
    """The sample's file, or its number in the data set."""
    text: str
    hypothesis: str
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def score_samples(
    model: SpeechToText,
    samples: Iterable[Sample],
    score: Score,
    progress: Callable[[str, int], None],
) -> Iterator[Hypothesis]:
    """Score samples one by one and yield what was found in each."""
    reader = SampleReader(samples, model.sample_rate)
    started = time.perf_counter()
    for index, events in enumerate(model.together(reader), 1):
        sample, seconds = reader.taken.popleft()
        taken = time.perf_counter() - started - reader.forget_seconds()
        yield score.add(sample, events, seconds, taken)
        progress(f"{100 * score.word_error_rate:.2f} % word error", index)
        started = time.perf_counter()


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
