"""Counts where two programs agree: a choice among scores, and numbers within a bound.

A choice may differ if the reference's own two best scores are closer than 1e-4 of the range of
all: that is a tie, which rounding decides. Ties are counted apart.
"""

from dataclasses import dataclass, field

import numpy as np

from ...runtime.typing import Array

TIE = 1e-4


@dataclass
class Choices:
    """How often ours chose as the reference did, and how varied the choices were."""

    equal: int = 0
    ties: int = 0
    wrong: int = 0
    distinct: set[int] = field(default_factory=set)

    def add(self, scores: Array, ours: int, reference: int | None = None) -> bool:
        """Counts one choice from the reference's `scores [n]`; returns whether it was the same."""
        best = int(np.argmax(scores)) if reference is None else reference
        self.distinct.add(best)
        if ours == best:
            self.equal += 1
        elif is_tie(scores):
            self.ties += 1
        else:
            self.wrong += 1
        return ours == best

    @property
    def total(self) -> int:
        return self.equal + self.ties + self.wrong

    @property
    def share(self) -> float:
        """Of the choices that rounding does not decide, how many are the same."""
        judged = self.equal + self.wrong
        return self.equal / judged if judged else 1.0

    def __str__(self) -> str:
        ties = f", {self.ties} ties" if self.ties else ""
        return (
            f"{100 * self.share:.3f} % of {self.total} ({self.wrong} differ{ties}; "
            f"{len(self.distinct)} distinct)"
        )


def is_tie(scores: Array) -> bool:
    """Whether the two best scores are too close to call."""
    second, best = np.partition(scores, -2)[-2:]
    return bool(best - second < TIE * (scores.max() - scores.min()))


@dataclass
class Numbers:
    """The greatest difference between two sequences, and the greatest value of the reference; NaN
    once anything was NaN."""

    error: float = 0.0
    peak: float = 0.0

    def add(self, reference: Array, ours: Array) -> None:
        if reference.size:
            self.error = float(np.maximum(self.error, np.abs(reference - ours).max()))
            self.peak = max(self.peak, float(np.abs(reference).max()))

    @property
    def relative(self) -> float:
        """The difference as a part of the peak."""
        return self.error / self.peak if self.peak else self.error

    def within(self, bound: float) -> bool:
        """Whether the difference is at most this part of the peak; what is no number is not."""
        return self.relative <= bound

    def __str__(self) -> str:
        return f"{self.error:.1e} at most, {self.relative:.1e} of the peak"
