"""A model for tests of the engine: its frames are numbers, and its words say which it received."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from kyutai_onnx.models.events import Event, Word
from kyutai_onnx.models.families import FAMILIES
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.engine import (
    Ended,
    Engine,
    Marked,
    Ready,
    Session,
    SessionEvent,
    Statistics,
)
from kyutai_onnx.server.limits import Limits

FRAME, RATE, DELAY = 40, 500, 2
FRAME_SECONDS = FRAME / RATE
REFUSED, BROKEN, POISON, UNTOLD = 2.0, 3.0, 4.0, 5.0
"""Samples that a row refuses, that break it, the whole step, or its events."""

Log = deque[list[float]] | list[list[float]]


def frames(*values: float) -> np.ndarray[Any, Any]:
    """Samples of so many frames, each of one value."""
    return np.repeat(np.array(values, np.float32), FRAME)


class CountingRow:
    """Hears a frame a step, and says its value, unless that is 0, `DELAY` steps later."""

    error: Exception | None = None

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._frames: deque[float] = deque()
        self._pending = np.empty(0, np.float32)
        self._read: list[float] = []
        self._events: list[Event] = []
        self.ended = False

    @property
    def waiting(self) -> int:
        return len(self._frames)

    @property
    def done(self) -> bool:
        return self.ended and not self._frames

    def feed(self, pcm: np.ndarray[Any, Any]) -> None:
        if REFUSED in pcm:
            raise UsageError("this row wants no 2")
        if BROKEN in pcm:
            raise ZeroDivisionError("this row broke")
        pcm = np.concatenate([self._pending, pcm])
        whole = len(pcm) // FRAME * FRAME
        self._frames += [float(value) for value in pcm[:whole:FRAME]]
        self._pending = pcm[whole:]

    def end(self) -> None:
        self._frames += [0.0] * DELAY
        self.ended = True

    def events(self) -> list[Event]:
        if self._read and self._read[-1] == UNTOLD:
            raise ZeroDivisionError("this row has lost its voice")
        events, self._events = self._events, []
        return events

    def step(self) -> None:
        self._read.append(self._frames.popleft())
        index = len(self._read) - 1 - DELAY
        if index >= 0 and self._read[index]:
            self._events.append(Word(f"{self._read[index]:g}", index, index + 1))


class CountingBatch:
    """`log` has the values of each step; `takes` is called at each."""

    def __init__(self, rows: int, log: Log, takes: Callable[[], None]) -> None:
        self.rows, self.taken = rows, list[CountingRow]()
        self._log, self._takes = log, takes

    @property
    def free(self) -> int:
        return self.rows - len(self.taken)

    def join(self) -> CountingRow:
        if not self.free:
            raise UsageError("no row is free")
        self.taken.append(CountingRow())
        return self.taken[-1]

    def leave(self, row: CountingRow) -> None:
        self.taken.remove(row)

    def step(self, held: Collection[CountingRow] = ()) -> bool:
        ready = [row for row in self.taken if row.waiting and row not in held]
        self._takes()
        self._log.append([round(row._frames[0], 3) for row in ready])
        for row in ready:
            if row._frames[0] == POISON:
                raise ZeroDivisionError("the step broke")
            row.step()
        return bool(ready)


class Counting:
    """The model. A step takes `step_seconds` of the `clock`; `batches` are all that were made."""

    def __init__(self, family: str = "stt", step_seconds: float = 0.001) -> None:
        self.family = FAMILIES[family]
        self.sample_rate, self.frame_size, self.frame_rate = RATE, FRAME, RATE / FRAME
        stt = SimpleNamespace(audio_delay_seconds=DELAY * FRAME_SECONDS - 0.01)
        self.bundle: Any = SimpleNamespace(
            manifest=SimpleNamespace(stt=stt if family == "stt" else None)
        )
        self.now = 1000.0
        self.step_seconds = step_seconds
        self.batches: list[CountingBatch] = []
        self.guided: list[bool] = []
        self.is_lost = False
        self.log: Log = []

    def batch(self, rows: int, *, guided: bool = False) -> CountingBatch:
        self.guided.append(guided)
        if self.is_lost:
            raise ZeroDivisionError("no memory is left")
        self.batches.append(CountingBatch(rows, self.log, self._pass))
        return self.batches[-1]

    def clock(self) -> float:
        return self.now

    def _pass(self) -> None:
        self.now += self.step_seconds


class Desk:
    """An engine without a thread, at a clock that is set by hand."""

    def __init__(self, slots: int = 2, family: str = "stt", **limits: float) -> None:
        self.model = Counting(family)
        self.statistics = Statistics()
        self.engine = Engine(
            "counting",
            self.model,
            slots,
            Limits(**limits),  # type: ignore[arg-type]
            self.statistics,
            clock=self.model.clock,
        )

    @property
    def rows(self) -> list[CountingRow]:
        """Those of the newest batch that are taken."""
        return self.model.batches[-1].taken

    def open(self, *, wait: float = 0.0) -> "Client":
        return Client(self.engine, wait=wait)

    def work(self) -> float | None:
        """Turns until there is nothing to do; returns for how long."""
        for _ in range(100_000):
            idle = self.engine.loop.turn()
            if idle != 0 or self.engine.loop.finished:
                return idle
        raise AssertionError("it never comes to rest")

    def wait(self, seconds: float) -> None:
        """Works, and lets so many seconds go by, with each limit kept on its way."""
        until = self.model.now + seconds
        while True:
            idle = self.work()
            finished = self.engine.loop.finished
            if finished or idle is None or self.model.now + idle > until:
                self.model.now = max(until, self.model.now)
                self.work()
                return
            self.model.now += idle


class Client:
    """One who opened a session, and the events that it got."""

    def __init__(self, engine: Engine, *, wait: float = 0.0) -> None:
        self.reported: list[SessionEvent] = []
        self.roomy = 0
        self.broken = False
        self.leaves = False
        self.session: Session = Session(
            engine, lambda batch: batch.join(), self._deliver, wait=wait, room=self._make_room
        )

    def _deliver(self, reported: Sequence[SessionEvent]) -> None:
        assert len(reported) > 0
        if self.broken:
            raise ConnectionError("nobody there")
        self.reported += reported
        if self.leaves:
            self.session.close()

    def _make_room(self) -> None:
        self.roomy += 1
        if self.broken:
            raise ConnectionError("nobody there")

    @property
    def brief(self) -> list[str | int]:
        """Words by their text, marks by their number, the rest by its name."""
        return [_brief(reported) for reported in self.reported]


def _brief(reported: SessionEvent) -> str | int:
    if isinstance(reported, Word):
        return reported.text
    if isinstance(reported, Marked):
        return reported.id
    if isinstance(reported, Ended):
        return reported.reason
    return "ready" if isinstance(reported, Ready) else repr(reported)
