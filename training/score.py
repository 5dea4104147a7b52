"""Word errors, word times and pauses, against what was really said."""

from dataclasses import dataclass, field

import numpy as np

from training.config import FRAME_RATE, VAD_HORIZONS
from training.espeak import Word

PAUSE_HEAD = VAD_HORIZONS.index(2.0)
PAUSE = 0.5
PROMPT = 0.5
EARLY = 0.2


def align(right: list[str], heard: list[str]) -> tuple[int, list[tuple[int, int]]]:
    """The fewest edits from one to the other, and the pairs of equal words they leave."""
    cost = np.zeros((len(right) + 1, len(heard) + 1), int)
    cost[:, 0], cost[0] = np.arange(len(right) + 1), np.arange(len(heard) + 1)
    for i, word in enumerate(right, 1):
        for j, other in enumerate(heard, 1):
            swap = cost[i - 1, j - 1] + (word != other)
            cost[i, j] = min(swap, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs, i, j = [], len(right), len(heard)
    while i and j:
        same = right[i - 1] == heard[j - 1]
        if cost[i, j] == cost[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            pairs += [(i, j)] if same else []
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(cost[-1, -1]), pairs[::-1]


@dataclass
class Tally:
    """Errors and words, for a rate in per cent."""

    errors: int = 0
    words: int = 0

    @property
    def rate(self) -> float:
        return 100 * self.errors / max(1, self.words)


@dataclass
class Score:
    """What was measured over a set."""

    words: Tally = field(default_factory=Tally)
    sentences: Tally = field(default_factory=Tally)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    by_voice: dict[str, Tally] = field(default_factory=dict)

    def add(self, right: list[Word], heard: list[Word], done: np.ndarray, voice: str) -> None:
        """One recording; `done` is [frames, horizons]."""
        errors, pairs = align([w.text for w in right], [w.text for w in heard])
        self.sentences.errors += errors > 0
        self.sentences.words += 1
        for tally in (self.words, self.by_voice.setdefault(voice, Tally())):
            tally.errors += errors
            tally.words += len(right)
        self.starts += [heard[j].start - right[i].start for i, j in pairs]
        self.ends += [heard[j].end - right[i].end for i, j in pairs]
        self._pause(right[0].start, right[-1].end, done[:, PAUSE_HEAD] > PAUSE)

    def _pause(self, start: float, end: float, paused: np.ndarray) -> None:
        """When the pause was seen after the last word, and how early within the words, if so."""
        times = (np.arange(len(paused)) + 1) / FRAME_RATE
        after = times[paused & (times >= end)]
        within = times[paused & (times > start) & (times < end)]
        self.pauses.append(after[0] - end if len(after) else np.inf)
        if len(within):
            self.early.append(end - within[0])

    def figures(self) -> dict[str, float]:
        """Rates in per cent, times in milliseconds."""
        starts, ends, pauses = map(np.array, (self.starts, self.ends, self.pauses))
        early, count = np.array(self.early), self.sentences.words
        return {
            "sentences": count,
            "words": self.words.words,
            "word_errors": self.words.errors,
            "word_error_rate": _rounded(self.words.rate),
            "sentence_error_rate": _rounded(self.sentences.rate),
            "start_bias_ms": _rounded(1e3 * _mean(starts)),
            "start_error_ms": _rounded(1e3 * _mean(np.abs(starts))),
            "end_bias_ms": _rounded(1e3 * _mean(ends)),
            "end_error_ms": _rounded(1e3 * _mean(np.abs(ends))),
            "pause_seen_in_half_a_second": _rounded(100 * _mean(pauses <= PROMPT)),
            "pause_median_ms": _rounded(1e3 * np.median(pauses)),
            "false_pauses": _rounded(100 * len(early) / count),
            "false_pauses_over_200_ms_early": _rounded(100 * np.sum(early > EARLY) / count),
        }

    def worst_voices(self, count: int = 5) -> dict[str, float]:
        rates = {voice: round(tally.rate, 1) for voice, tally in self.by_voice.items()}
        return dict(sorted(rates.items(), key=lambda item: -item[1])[:count])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _rounded(value: float) -> float:
    return round(float(value), 2)
