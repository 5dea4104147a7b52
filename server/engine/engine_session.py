"""The engine's side of a session: what waits for its row, checked and counted, and its clocks."""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...models.batch import Row
from ...models.events import Event
from ...runtime.audio import Pcm, check_samples
from ...runtime.errors import UsageError
from ..limits import Limits
from .events import Deliver, Marked, Ready, Reason, SessionEvent

MakeRow = Callable[[Any], Row[Any]]
"""Joins a batch, and returns the row."""

AHEAD = 4
"""Frames that a row is given in advance: a codec encodes so many in one call in two thirds of the
time that they take one by one, and more of them would keep the others waiting."""
INPUTS_AT_ONCE = 16
"""Inputs that are used between two steps: thousands of marks or resets would keep the others
waiting."""
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


@dataclass(frozen=True)
class Pace:
    """A frame in samples, and by how many frames the text of speech lags behind it."""

    frame_size: int
    delay: int


class Backlog:
    """Count what was fed and is not used yet, in samples or words. Thread-safe.

    Above `soft` the client should not be read; nothing is taken beyond `hard`.
    """

    def __init__(self, soft: float, hard: float) -> None:
        self._soft, self._hard = soft, hard
        self._lock = threading.Lock()
        self._was_full = False
        self.amount = 0

    def add(self, cost: int) -> None:
        """Raises UsageError, and adds nothing, if there is no room."""
        with self._lock:
            if self.amount + cost > self._hard:
                raise UsageError("too much input waits for the model: send more slowly")
            self.amount += cost
            self._was_full |= self.amount > self._soft

    def remove(self, cost: int) -> bool:
        """Return whether there is room again, after there was none."""
        with self._lock:
            self.amount = self.amount - cost
            eased = self._was_full and self.amount <= self._soft
            self._was_full &= not eased
            return eased


@dataclass
class Marks:
    """Marks that wait for the frames before them to be transcribed."""

    waiting: deque[tuple[int, Mark]] = field(default_factory=deque)

    def due(self, frames: float) -> list[Mark]:
        """Remove and return the marks that are due after so many frames of the row."""
        found = []
        while self.waiting and self.waiting[0][0] <= frames:
            found.append(self.waiting.popleft()[1])
        return found


class EngineSession:
    """All but `backlog`, `closed` and `over` belongs to the engine's thread; `Session` says what
    the callbacks are."""

    def __init__(
        self,
        make_row: MakeRow,
        deliver: Deliver,
        room: Callable[[], None] | None,
        pace: Pace,
        backlog: Backlog,
        opened: float,
        wait: float,
    ) -> None:
        self.make_row, self.deliver, self.room = make_row, deliver, room
        self.backlog, self._pace = backlog, pace
        self.opened, self._patience = opened, wait
        self.closed = False
        """The client has left."""
        self.over = False
        """The engine has released it."""
        self.ended: EndOfInput | None = None
        self.row: Row[Any] | None = None
        self.steps = 0
        self._inbox: deque[Input] = deque()
        self._marks = Marks()
        self._supplied = self._fed = self._frames = 0
        self._joined = self._active = opened
        self._held_since: float | None = None

    def join(self, row: Row[Any], now: float) -> None:
        """Start, in this row."""
        self.row = row
        self._joined = self._active = now

    def queue(self, item: Input, now: float) -> None:
        """Put an input behind the others; after the end it is ignored."""
        if self.ended is None:
            self._inbox.append(item)
            self._active = now
            self.ended = item if isinstance(item, EndOfInput) else None

    def hold(self, held: bool, now: float) -> None:
        """Pause, or resume."""
        if held != (self._held_since is not None):
            self._held_since = now if held else None
            self._active = now

    @property
    def is_held(self) -> bool:
        """Whether it must not be stepped."""
        return self._held_since is not None or self.closed

    @property
    def is_steppable(self) -> bool:
        return self.waiting > 0 and not self.is_held

    @property
    def is_due(self) -> bool:
        """Whether the first input that waits can be used now."""
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
        """The error of its row."""
        return None if self.row is None else self.row.error

    def supply(self) -> tuple[list[SessionEvent], bool]:
        """Feed the row the next few frames and inputs; return the events of that, and whether there
        was anything to feed."""
        events: list[SessionEvent] = []
        used = 0
        while self.row is not None and used < INPUTS_AT_ONCE and self.is_due:
            events += self._use(self.row, self._inbox.popleft())
            used += 1
        return events, used > 0

    def stepped(self, before: int, now: float) -> None:
        """Note that the row was stepped, which had `before` frames waiting."""
        assert self.row is not None
        self.steps += 1
        self._frames += max(0, before - self.row.waiting)
        self._active = now

    def poll(self) -> tuple[list[SessionEvent], bool]:
        """Return the events of the row by now, and whether it is done."""
        assert self.row is not None
        done = self.row.done
        events: list[Event] = self.row.events()
        return [*events, *self._due(math.inf if done else self._frames)], done

    def free_backlog(self) -> bool:
        """Take what was stepped off the backlog; return whether there is room again."""
        used = self._supplied - self.waiting * self._pace.frame_size
        if used <= 0:
            return False
        self._supplied -= used
        return self.backlog.remove(used)

    def limit(self, limits: Limits) -> tuple[float, Reason]:
        """Return when the first limit is reached, and which."""
        if self.row is None:
            return self.opened + self._patience, "busy"
        longest = math.inf if limits.session is None else limits.session
        reached: list[tuple[float, Reason]] = [(self._joined + longest, "too long")]
        if self._held_since is not None:
            reached.append((self._held_since + limits.stall, "stalled"))
        elif not self._inbox and not self.row.waiting:
            reached.append((self._active + limits.idle, "idle"))
        return min(reached)

    def release(self) -> None:
        """Let go of the row, the callbacks and the inputs."""
        self.over = True
        self.make_row, self.deliver, self.room = _nothing, _nothing, None
        self.row = None
        self._inbox.clear()
        self._marks.waiting.clear()

    def _use(self, row: Row[Any], item: Input) -> list[SessionEvent]:
        if isinstance(item, Chunk):
            self._feed_at_most_a_frame(row, item)
            return []
        if isinstance(item, Mark):
            return self._mark(row, item)
        self._supplied += item.cost
        if isinstance(item, EndOfInput):
            row.end()
            return []
        events: list[SessionEvent] = [*row.events(), *self._due(math.inf), Ready()]
        if item.change is not None:
            item.change(row)
        row.reset()
        self._fed = 0
        return events

    def _feed_at_most_a_frame(self, row: Row[Any], chunk: Chunk) -> None:
        """Feed at most a frame of samples and put the rest back, so that no long message delays the
        step of the other sessions."""
        item, cost, size = chunk.item, chunk.cost, self._pace.frame_size
        if isinstance(item, np.ndarray):
            if len(item) > size:
                cost = min(cost, size)
                self._inbox.appendleft(Chunk(item[size:], chunk.cost - cost))
                item = item[:size]
            self._fed += len(item)
        self._supplied += cost
        row.feed(item)

    def _mark(self, row: Row[Any], mark: Mark) -> list[SessionEvent]:
        size, delay = self._pace.frame_size, self._pace.delay
        started = self._fed % size
        due = self._frames + row.waiting + delay + bool(started)
        self._marks.waiting.append((due, mark))
        if mark.flush:
            silence = np.zeros((delay + 2) * size - started, np.float32)
            self._inbox.appendleft(Chunk(silence, 0))
        return self._due(self._frames)

    def _due(self, frames: float) -> list[SessionEvent]:
        marks = self._marks.due(frames)
        self._supplied += sum(mark.cost for mark in marks)
        return [Marked(mark.id) for mark in marks]


def _nothing(*_: object) -> Any:
    raise RuntimeError("this session is over")
