"""The inputs of a session: checked, each with its cost in the backlog."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...runtime.audio import Pcm, check_samples
from ...runtime.errors import UsageError

SHORTEST = 0.01
"""Seconds that a message of audio counts for at least, so that their number is limited too."""

LONGEST_WORD = 20
"""Characters that count for a word."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Samples float32 `[n]`, or text."""

    item: Pcm | str
    cost: int


@dataclass(frozen=True)
class Mark:
    """Have `Marked` emitted when all before it is transcribed; `flush` feeds silence after it."""

    id: int
    flush: bool
    cost: int


@dataclass(frozen=True)
class Reset:
    """Start a new stream after what came before; `change` is called with the row first."""

    cost: int
    change: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class EndOfInput:
    """Nothing more will come; `cut` if the engine ends the session."""

    cut: bool = False
    cost: int = 0


Input = Chunk | Mark | Reset | EndOfInput


@dataclass(frozen=True)
class AudioIntake:
    """Check samples float32 `[n]`, counted in samples, `unit` of which are a second."""

    unit: int
    most_seconds: float

    @property
    def least(self) -> int:
        return math.ceil(SHORTEST * self.unit)

    def check(self, item: object) -> Chunk | None:
        """Copy samples; None if there are none. Raises UsageError for anything else."""
        samples = check_samples(item)
        seconds = len(samples) / self.unit
        if seconds > self.most_seconds:
            raise UsageError(
                f"a message of {seconds:.1f} s of audio: send at most {self.most_seconds:g} s"
            )
        if not len(samples):
            return None
        return Chunk(samples.copy(), max(len(samples), self.least))


@dataclass(frozen=True)
class TextIntake:
    """Check text, counted in words."""

    most_words: int
    unit = least = 1

    def check(self, item: object) -> Chunk | None:
        """Return the text; None if it is empty. Raises UsageError if it is no text, or too long."""
        if not isinstance(item, str):
            raise UsageError(f"text must be a string, not {type(item).__name__}")
        words = max(len(item.split()), math.ceil(len(item) / LONGEST_WORD))
        if words > self.most_words:
            raise UsageError(f"a message of about {words} words: send at most {self.most_words}")
        return Chunk(item, words) if words else None


Intake = AudioIntake | TextIntake
