"""The loop of an engine's thread: commands of other threads, and the steps of all sessions
together."""

import math
from collections.abc import Callable, Collection
from typing import Any

from ...models.batch import Batch, Row
from ..limits import Limits
from .active_sessions import ActiveSessions
from .admission import Admission
from .commands import Cancel, Command, CommandQueue, Feed, Hold, Join, Stop
from .engine_session import EndOfInput, EngineSession
from .events import SessionEvent
from .statistics import Statistics


class Loop:
    """The work on all sessions of one model. `turn` does what there is to do now, and so needs
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
        self.active = ActiveSessions(name, make_batch, admission, statistics)
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
        for session in self.active.sessions:
            self._supply(session)
        until = self._keep_limits()
        if self._deadline < math.inf and not self.active.sessions:
            self.finished, self.active.batch = True, None
            return 0.0
        if self._step() or any(session.is_due for session in self.active.sessions):
            return 0.0
        return None if until == math.inf else max(0.0, until - self._clock())

    def stop(self, seconds: float) -> None:
        """Refuse new sessions, and be `finished` within so many seconds. Thread-safe."""
        self.admission.shut()
        self.commands.put(Stop(seconds))

    def _execute(self, command: Command) -> None:
        now = self._clock()
        if isinstance(command, Join):
            self.active.join(command.session, now)
        elif isinstance(command, Feed):
            command.session.queue(command.input, now)
        elif isinstance(command, Hold):
            command.session.hold(command.held, now)
        elif isinstance(command, Cancel):
            self.active.drop(command.session, "abandoned")
        elif isinstance(command, Stop):
            self._finish_by(now + command.seconds)

    def _finish_by(self, deadline: float) -> None:
        """Work off what was fed by now, until then."""
        self._deadline = min(self._deadline, deadline)
        for session in self.admission.waiting:
            self.active.end(session, "shutdown")
        for session in self.active.sessions:
            session.queue(EndOfInput(cut=True), self._clock())

    def _supply(self, session: EngineSession) -> None:
        try:
            events, supplied = session.supply()
            if supplied:
                self._settle(session, events)
        except Exception as error:
            self.active.refuse(session, error)

    def _settle(self, session: EngineSession, events: list[SessionEvent]) -> None:
        """Emit `events` and what the row has found, and end the session if it is done."""
        found, done = session.poll()
        eased, room = session.free_backlog(), session.room
        events += found
        if done:
            cut = session.ended is not None and session.ended.cut
            self.active.end(session, "shutdown" if cut else "done", events=events)
        else:
            self.active.emit(session, events)
        if eased and room is not None and not session.over:
            room()

    def _keep_limits(self) -> float:
        """End each session that has reached a limit; return when the next limit is reached."""
        now, next_one = self._clock(), self._deadline
        for session in (*self.active.sessions, *self.admission.waiting):
            when, reason = session.limit(self._limits)
            if now >= self._deadline:
                self.active.end(session, "shutdown")
            elif now >= when:
                self.active.end(session, reason)
            else:
                next_one = min(next_one, when)
        return next_one

    def _step(self) -> bool:
        """Step all sessions that can be; return whether any could."""
        sessions, batch = self.active.sessions, self.active.batch
        ready = [session for session in sessions if session.is_steppable]
        if not ready or batch is None:
            return False
        held = [session.row for session in sessions if session.is_held]
        before = [session.waiting for session in ready]
        self.step_began = began = self._clock()
        if not self._step_batch(batch, held):
            return True
        now = self._clock()
        self._statistics.stepped(now - began, len(ready), len(sessions), self._frame_seconds)
        for session, frames in zip(ready, before, strict=True):
            self._finish_step(session, frames, now)
        for session in sessions:
            if session.error is not None:
                self.active.refuse(session, session.error)
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

    def _finish_step(self, session: EngineSession, before: int, now: float) -> None:
        if session.over:
            return
        try:
            session.stepped(before, now)
            self._settle(session, [])
        except Exception as error:
            self.active.refuse(session, error)
