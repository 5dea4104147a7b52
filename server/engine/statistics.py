"""What an engine counts."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

STEP_SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.12, 0.2, 0.5, 1.0
)  # fmt: skip
SESSION_STEPS = (2, 25, 62.5, 125, 250, 500, 750, 1125, 1500, 2250, 3000, 4500, 45_000)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 100.0)
RECENT = 0.02
"""The weight of the newest step in a recent average."""


class Distribution:
    """Observations in buckets, each up to its bound and the last one unbounded."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def cumulative(self) -> list[int]:
        """The number of observations that are at most each bound, and of all."""
        return list(accumulate(self._counts))


class Statistics:
    """The counters of one engine; it writes them, any thread reads them.

    `opened` sessions, `refused` ones, `ended` by reason (`abandoned` if the client left). `steps`
    of the batch with `row_steps` rows in all, and `starved_rows` that had a slot and nothing to do.
    `refused_inputs` were invalid or too much; `faults` are errors that were not the client's.
    """

    def __init__(self) -> None:
        self.opened = self.refused = self.refused_inputs = self.faults = 0
        self.ended: Counter[str] = Counter()
        self.steps = self.row_steps = self.starved_rows = 0
        self.audio_seconds = 0.0
        self.step_seconds = Distribution(STEP_SECONDS)
        self.rows = Distribution(ROWS)
        self.session_steps = Distribution(SESSION_STEPS)
        self.queue_seconds = Distribution(SECONDS)
        self._recent_audio = self._recent_seconds = 0.0

    def stepped(self, seconds: float, rows: int, slots: int, frame_seconds: float) -> None:
        """Count a step of `rows` rows while `slots` were taken."""
        self.steps += 1
        self.row_steps += rows
        self.starved_rows += max(0, slots - rows)
        self.audio_seconds += rows * frame_seconds
        self.step_seconds.observe(seconds)
        self.rows.observe(rows)
        self._recent_audio += RECENT * (rows * frame_seconds - self._recent_audio)
        self._recent_seconds += RECENT * (seconds - self._recent_seconds)

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio of all streams by seconds of computing, recently; 0 before the first
        step."""
        return self._recent_audio / self._recent_seconds if self._recent_seconds else 0.0
