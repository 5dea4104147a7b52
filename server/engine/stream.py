"""A session as the engine's thread sees it: what waits for its row, and its clocks."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...models.batch import Row
from ...models.events import Event
from .backlog import Backlog
from .events import Deliver, Marked, Ready, Reason, SessionEvent
from .inputs import Chunk, End, Input, Mark, Reset
from .limits import Limits

AHEAD = 4
"""Frames that a row is given in advance: a codec encodes so many in one call in two thirds of the
time that they take one by one, and more of them would keep the others waiting."""
INPUTS_AT_ONCE = 16
"""Inputs that are used between two steps: thousands of markers or new beginnings would keep the
others waiting."""


@dataclass(frozen=True)
class Pace:
    """A frame in samples, and by how many frames the text of speech lags behind it."""

    frame_size: int
    delay: int


@dataclass
class Marks:
    """Marks that wait until the frames before them were heard."""

    waiting: deque[tuple[int, Mark]] = field(default_factory=deque)

    def due(self, frames: float) -> list[Mark]:
        """Those due by so many frames of the row."""
        found = []
        while self.waiting and self.waiting[0][0] <= frames:
            found.append(self.waiting.popleft()[1])
        return found


class Stream:
    """`begin` makes its row once there is a slot. All but `backlog`, `closed` and `over` belongs to
    the engine's thread."""

    def __init__(
        self,
        begin: Callable[[Any], Row],
        deliver: Deliver,
        room: Callable[[], None] | None,
        pace: Pace,
        backlog: Backlog,
        opened: float,
        wait: float,
    ) -> None:
        self.begin, self.deliver, self.room = begin, deliver, room
        self.backlog, self._pace = backlog, pace
        self.opened, self._patience = opened, wait
        self.closed = False
        """Nobody listens any more."""
        self.over = False
        """The engine has forgotten it."""
        self.ended: End | None = None
        self.row: Row | None = None
        self.steps = 0
        self._inbox: deque[Input] = deque()
        self._marks = Marks()
        self._given = self._fed = self._frames = 0
        self._joined = self._active = opened
        self._held_since: float | None = None

    def join(self, row: Row, now: float) -> None:
        """Begins, in this row."""
        self.row = row
        self._joined = self._active = now

    def bring(self, given: Input, now: float) -> None:
        """Puts an input behind the others; after the end none counts."""
        if self.ended is None:
            self._inbox.append(given)
            self._active = now
            self.ended = given if isinstance(given, End) else None

    def hold(self, held: bool, now: float) -> None:
        """Is to be stepped no more, or again."""
        if held != (self._held_since is not None):
            self._held_since = now if held else None
            self._active = now

    @property
    def is_held(self) -> bool:
        """Whether it is to be left as it is."""
        return self._held_since is not None or self.closed

    @property
    def is_steppable(self) -> bool:
        return self.waiting > 0 and not self.is_held

    @property
    def is_due(self) -> bool:
        """Whether the first of what waits can be used by now."""
        if self.row is None or not self._inbox or self.is_held:
            return False
        first = self._inbox[0]
        if isinstance(first, Chunk):
            return self.row.waiting < (1 if isinstance(first.item, str) else AHEAD)
        return not (isinstance(first, Reset) and self.row.waiting)

    @property
    def waiting(self) -> int:
        """Frames that its row could be stepped by now."""
        return 0 if self.row is None else self.row.waiting

    @property
    def error(self) -> Exception | None:
        """What went wrong in its row."""
        return None if self.row is None else self.row.error

    def supply(self) -> tuple[list[SessionEvent], bool]:
        """Gives the row what comes next, a few frames and inputs at most; returns what is to be
        told of it, and whether the row was given anything."""
        told: list[SessionEvent] = []
        given = 0
        while self.row is not None and given < INPUTS_AT_ONCE and self.is_due:
            told += self._use(self.row, self._inbox.popleft())
            given += 1
        return told, given > 0

    def stepped(self, before: int, now: float) -> None:
        """The row was stepped, which had `before` frames waiting."""
        assert self.row is not None
        self.steps += 1
        self._frames += max(0, before - self.row.waiting)
        self._active = now

    def found(self) -> tuple[list[SessionEvent], bool]:
        """What is to be told of the row by now, and whether that is all."""
        assert self.row is not None
        done = self.row.done
        events: list[Event] = self.row.take()
        return [*events, *self._due(math.inf if done else self._frames)], done

    def use_up(self) -> bool:
        """Takes what was stepped off the backlog; whether there is room again by it."""
        used = self._given - self.waiting * self._pace.frame_size
        if used <= 0:
            return False
        self._given -= used
        return self.backlog.take(used)

    def limit(self, limits: Limits) -> tuple[float, Reason]:
        """When the first limit is reached, and which."""
        if self.row is None:
            return self.opened + self._patience, "busy"
        reached: list[tuple[float, Reason]] = [(self._joined + limits.session, "too long")]
        if self._held_since is not None:
            reached.append((self._held_since + limits.stall, "stalled"))
        elif not self._inbox and not self.row.waiting:
            reached.append((self._active + limits.idle, "idle"))
        return min(reached)

    def forget(self) -> None:
        """Lets go of all that it holds."""
        self.over = True
        self.begin, self.deliver, self.room = _nothing, _nothing, None
        self.row = None
        self._inbox.clear()
        self._marks.waiting.clear()

    def _use(self, row: Row, given: Input) -> list[SessionEvent]:
        if isinstance(given, Chunk):
            self._feed(row, given)
            return []
        if isinstance(given, Mark):
            return self._mark(row, given)
        self._given += given.cost
        if isinstance(given, End):
            row.end()
            return []
        told: list[SessionEvent] = [*row.take(), *self._due(math.inf), Ready()]
        if given.change is not None:
            given.change(row)
        row.reset()
        self._fed = 0
        return told

    def _feed(self, row: Row, given: Chunk) -> None:
        """A frame at a time of samples: no step takes long by what others bring."""
        item, cost, size = given.item, given.cost, self._pace.frame_size
        if isinstance(item, np.ndarray):
            if len(item) > size:
                cost = min(cost, size)
                self._inbox.appendleft(Chunk(item[size:], given.cost - cost))
                item = item[:size]
            self._fed += len(item)
        self._given += cost
        row.feed(item)

    def _mark(self, row: Row, mark: Mark) -> list[SessionEvent]:
        size, delay = self._pace.frame_size, self._pace.delay
        begun = self._fed % size
        due = self._frames + row.waiting + delay + bool(begun)
        self._marks.waiting.append((due, mark))
        if mark.flush:
            silence = np.zeros((delay + 2) * size - begun, np.float32)
            self._inbox.appendleft(Chunk(silence, 0))
        return self._due(self._frames)

    def _due(self, frames: float) -> list[SessionEvent]:
        marks = self._marks.due(frames)
        self._given += sum(mark.cost for mark in marks)
        return [Marked(mark.id) for mark in marks]


def _nothing(*_: object) -> Any:
    raise RuntimeError("this session is over")
