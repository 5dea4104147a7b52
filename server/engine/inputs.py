"""What a client brings to its session, checked, with what each thing costs of the backlog."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import UsageError

Array = np.ndarray[Any, Any]

LOUDEST = 100.0
"""Samples beyond it are no audio in [-1, 1], and could overflow in a model."""

SHORTEST = 0.01
"""Seconds that a message of audio counts for at least, so that their number is bounded too."""

LONGEST_WORD = 20
"""Characters that count for a word."""


@dataclass(frozen=True, eq=False)
class Feed:
    """Samples float32 `[n]`, or text."""

    item: Array | str
    cost: int


@dataclass(frozen=True)
class Mark:
    """To be told when all that came before is transcribed, after silence where it is to `flush`."""

    id: int
    flush: bool
    cost: int


@dataclass(frozen=True)
class Reset:
    """A new stream begins after what came before, its row changed before that."""

    cost: int
    change: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class End:
    """Nothing more will come; `cut` where it is the engine that says so."""

    cut: bool = False
    cost: int = 0


Input = Feed | Mark | Reset | End


@dataclass(frozen=True)
class AudioIntake:
    """Takes float32 `[n]`, counted in samples, `unit` of which are a second."""

    unit: int
    most_seconds: float

    @property
    def least(self) -> int:
        return math.ceil(SHORTEST * self.unit)

    def check(self, item: object) -> Feed | None:
        """A copy of samples; None where there are none. Raises UsageError for what is no audio."""
        if not isinstance(item, np.ndarray):
            raise UsageError(f"audio is float32 [n], not {type(item).__name__}")
        if item.dtype != np.float32 or item.ndim != 1:
            raise UsageError(f"audio is float32 [n], not {item.dtype} {list(item.shape)}")
        seconds = len(item) / self.unit
        if seconds > self.most_seconds:
            raise UsageError(
                f"a message of {seconds:.1f} s of audio: send at most {self.most_seconds:g} s"
            )
        if not len(item):
            return None
        loudest = float(np.max(np.abs(item)))
        if not math.isfinite(loudest):
            raise UsageError("the audio has samples that are no numbers")
        if loudest > LOUDEST:
            raise UsageError(f"the audio has a sample of {loudest:g}: send floats in [-1, 1]")
        return Feed(item.copy(), max(len(item), self.least))


@dataclass(frozen=True)
class TextIntake:
    """Takes text, counted in words."""

    most_words: int
    unit = least = 1

    def check(self, item: object) -> Feed | None:
        """A text; None where it is empty. Raises UsageError for what is none, or too long."""
        if not isinstance(item, str):
            raise UsageError(f"text is a string, not {type(item).__name__}")
        words = max(len(item.split()), math.ceil(len(item) / LONGEST_WORD))
        if words > self.most_words:
            raise UsageError(f"a message of some {words} words: send at most {self.most_words}")
        return Feed(item, words) if words else None


Intake = AudioIntake | TextIntake
