"""Many streams through one step: what every family's batch and its rows offer.

Rows join and leave at any frame. What a row is given waits until the batch is stepped, what it
found until it is taken. A batch belongs to one thread at a time.
"""

from collections.abc import Collection
from typing import Any, Protocol

from .events import Event


class Row(Protocol):
    """One stream of a batch; `feed` takes samples float32 `[n]`, or text. What goes wrong in it
    ends it alone: `error`, which `take` raises."""

    error: Exception | None

    @property
    def waiting(self) -> int:
        """Frames, or words, that could be stepped now of what it was given; 0 is nothing to do."""

    @property
    def done(self) -> bool:
        """Whether it was ended and all is said."""

    def feed(self, given: Any, /) -> None:
        """Stores more of what it hears or says; raises UsageError after `end`."""

    def end(self) -> None:
        """No more will come."""

    def take(self) -> list[Event]:
        """What was found since the last time; raises what went wrong in the stream."""

    def reset(self) -> None:
        """A new stream in the same row, as the same `join` would give."""


class Batch(Protocol):
    """`rows` streams at most. Its `join` takes what the model's `stream` does, and raises
    UsageError for values out of range and where no row is free."""

    rows: int

    @property
    def free(self) -> int:
        """How many more may join."""

    def leave(self, row: Any) -> None:
        """Makes room for another stream at once, whatever was left to say."""

    def step(self, held: Collection[Any] = ()) -> bool:
        """Steps every row that can be, but those held; False where none could."""
