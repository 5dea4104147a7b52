"""What other threads ask of an engine's thread."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from .engine_session import EngineSession, Input


@dataclass(frozen=True)
class Join:
    """Give the session a row: a slot is reserved for it."""

    session: EngineSession


@dataclass(frozen=True)
class Feed:
    """Queue an input of the session."""

    session: EngineSession
    input: Input


@dataclass(frozen=True)
class Hold:
    """Stop stepping the session, or resume."""

    session: EngineSession
    held: bool


@dataclass(frozen=True)
class Cancel:
    """End the session: its client has left."""

    session: EngineSession


@dataclass(frozen=True)
class Wake:
    """Check the limits again: there is a new one."""


@dataclass(frozen=True)
class Stop:
    """Finish within so many seconds."""

    seconds: float


Command = Join | Feed | Hold | Cancel | Wake | Stop


@dataclass
class CommandQueue:
    """Commands in the order in which they arrive. Any thread may put one, even from a destructor:
    `put` takes no lock that the same thread could already hold."""

    _queue: "SimpleQueue[Command]" = field(default_factory=SimpleQueue)
    _received: list[Command] = field(default_factory=list)

    def put(self, command: Command) -> None:
        self._queue.put(command)

    def wait(self, timeout: float | None) -> None:
        """Sleep until there is a command, for at most `timeout` seconds."""
        if self._received:
            return
        with suppress(Empty):
            self._received.append(self._queue.get(timeout=timeout))

    def take(self) -> Iterator[Command]:
        """Yield the commands that have arrived, and none that arrives meanwhile."""
        arrived = self._queue.qsize()
        while self._received:
            yield self._received.pop()
        for _ in range(arrived):
            yield self._queue.get()
