"""The work of an engine's thread: carry out commands, feed the rows, step them together."""

import math
from collections.abc import Callable, Collection
from typing import Any

from ...models.batch import Batch, Row
from ..limits import Limits
from .active_streams import ActiveStreams
from .admission import Admission
from .commands import Cancel, Command, CommandQueue, Feed, Hold, Join, Stop
from .events import SessionEvent
from .inputs import EndOfInput
from .statistics import Statistics
from .stream import Stream


class Loop:
    """The work on all streams of one model. `turn` does what there is to do now, and so needs
    neither a thread nor the time of day."""

    def __init__(
        self,
        name: str,
        make_batch: Callable[[], Batch[Any]],
        admission: Admission,
        commands: CommandQueue,
        limits: Limits,
        statistics: Statistics,
        frame_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.admission, self.commands = admission, commands
        self.active = ActiveStreams(name, make_batch, admission, statistics)
        self.finished = False
        self.step_began: float | None = None
        self._frame_seconds = frame_seconds
        self._limits, self._statistics, self._clock = limits, statistics, clock
        self._deadline = math.inf

    def turn(self) -> float | None:
        """Run at most one step; return for how many seconds there is nothing to do, or None for
        until a command comes."""
        for command in self.commands.take():
            self._execute(command)
        for stream in self.active.streams:
            self._supply(stream)
        until = self._keep_limits()
        if self._deadline < math.inf and not self.active.streams:
            self.finished, self.active.batch = True, None
            return 0.0
        if self._step() or any(stream.is_due for stream in self.active.streams):
            return 0.0
        return None if until == math.inf else max(0.0, until - self._clock())

    def stop(self, drain: float) -> None:
        """Refuse new streams, and be `finished` within `drain` seconds. Thread-safe."""
        self.admission.shut()
        self.commands.put(Stop(drain))

    def _execute(self, command: Command) -> None:
        now = self._clock()
        if isinstance(command, Join):
            self.active.join(command.stream, now)
        elif isinstance(command, Feed):
            command.stream.queue(command.input, now)
        elif isinstance(command, Hold):
            command.stream.hold(command.held, now)
        elif isinstance(command, Cancel):
            self.active.drop(command.stream, "abandoned")
        elif isinstance(command, Stop):
            self._drain(now + command.drain)

    def _drain(self, deadline: float) -> None:
        """Work off what was fed by now, until then."""
        self._deadline = min(self._deadline, deadline)
        for stream in self.admission.waiting:
            self.active.end(stream, "shutdown")
        for stream in self.active.streams:
            stream.queue(EndOfInput(cut=True), self._clock())

    def _supply(self, stream: Stream) -> None:
        try:
            events, supplied = stream.supply()
            if supplied:
                self._settle(stream, events)
        except Exception as error:
            self.active.refuse(stream, error)

    def _settle(self, stream: Stream, events: list[SessionEvent]) -> None:
        """Emit `events` and what the row has found, and end the stream if it is done."""
        found, done = stream.poll()
        eased, room = stream.free_backlog(), stream.room
        events += found
        if done:
            cut = stream.ended is not None and stream.ended.cut
            self.active.end(stream, "shutdown" if cut else "done", events=events)
        else:
            self.active.emit(stream, events)
        if eased and room is not None and not stream.over:
            room()

    def _keep_limits(self) -> float:
        """End each stream that has reached a limit; return when the next limit is reached."""
        now, next_one = self._clock(), self._deadline
        for stream in (*self.active.streams, *self.admission.waiting):
            when, reason = stream.limit(self._limits)
            if now >= self._deadline:
                self.active.end(stream, "shutdown")
            elif now >= when:
                self.active.end(stream, reason)
            else:
                next_one = min(next_one, when)
        return next_one

    def _step(self) -> bool:
        """Step all streams that can be; return whether any could."""
        streams, batch = self.active.streams, self.active.batch
        ready = [stream for stream in streams if stream.is_steppable]
        if not ready or batch is None:
            return False
        held = [stream.row for stream in streams if stream.is_held]
        before = [stream.waiting for stream in ready]
        self.step_began = began = self._clock()
        if not self._step_batch(batch, held):
            return True
        now = self._clock()
        self._statistics.stepped(now - began, len(ready), len(streams), self._frame_seconds)
        for stream, frames in zip(ready, before, strict=True):
            self._finish_step(stream, frames, now)
        for stream in streams:
            if stream.error is not None:
                self.active.refuse(stream, stream.error)
        return True

    def _step_batch(self, batch: Batch[Any], held: Collection[Row[Any] | None]) -> bool:
        """Return whether the step succeeded."""
        try:
            if not batch.step(held):
                raise RuntimeError("rows with something to do were not stepped")  # noqa: TRY301
        except Exception as error:
            self.active.fail(error)
            return False
        finally:
            self.step_began = None
        return True

    def _finish_step(self, stream: Stream, before: int, now: float) -> None:
        if stream.over:
            return
        try:
            stream.stepped(before, now)
            self._settle(stream, [])
        except Exception as error:
            self.active.refuse(stream, error)
