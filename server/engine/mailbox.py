"""What other threads have to say to the engine's thread."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from .inputs import Input

if TYPE_CHECKING:
    from .stream import Stream


@dataclass(frozen=True)
class Join:
    """A slot is kept for this stream."""

    stream: "Stream"


@dataclass(frozen=True)
class Bring:
    """An input, in its order."""

    stream: "Stream"
    input: Input


@dataclass(frozen=True)
class Hold:
    """The stream is to be held, or no more."""

    stream: "Stream"
    held: bool


@dataclass(frozen=True)
class Abandon:
    """Nobody wants this stream any more."""

    stream: "Stream"


@dataclass(frozen=True)
class Look:
    """There is a new limit to keep an eye on."""


@dataclass(frozen=True)
class Stop:
    """Finish within so many seconds."""

    drain: float


Letter = Join | Bring | Hold | Abandon | Look | Stop


@dataclass
class Mailbox:
    """Letters in the order of their arrival. Anyone may put them, the destructor of an object too,
    wherever it may run: nothing is locked that this thread could hold already."""

    _queue: "SimpleQueue[Letter]" = field(default_factory=SimpleQueue)
    _opened: list[Letter] = field(default_factory=list)

    def put(self, letter: Letter) -> None:
        self._queue.put(letter)

    def wait(self, timeout: float | None) -> None:
        """Sleeps until there is a letter, at most so many seconds."""
        if self._opened:
            return
        with suppress(Empty):
            self._opened.append(self._queue.get(timeout=timeout))

    def take(self) -> Iterator[Letter]:
        """What is there by now, and nothing that comes while it is read."""
        coming = self._queue.qsize()
        while self._opened:
            yield self._opened.pop()
        for _ in range(coming):
            yield self._queue.get()
