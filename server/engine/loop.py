"""The loop of an engine's thread: commands of other threads, which sessions have a slot, and the
steps of all of them together."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from ...models.batch import Batch, Row
from ...runtime.errors import KyutaiOnnxError, UsageError
from ..limits import Limits
from .engine_session import EndOfInput, EngineSession, Input
from .events import INTERNAL_ERROR, Busy, Ended, Ready, Reason, SessionEvent
from .statistics import Statistics

LOG = logging.getLogger(__name__)


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
    """Finish within `drain` seconds."""

    drain: float


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


class Admission:
    """Admit at most `slots` sessions, and queue `places` more in their order. Thread-safe.

    A slot that is freed goes to the next session at once: its command to join comes after the
    command by which the last owner left.
    """

    def __init__(self, slots: int, places: int, commands: CommandQueue) -> None:
        self._slots, self._places, self._commands = slots, places, commands
        self._lock = threading.Lock()
        self._admitted: set[EngineSession] = set()
        self._waiting: deque[EngineSession] = deque()
        self._shut = False

    def enter(self, session: EngineSession, *, wait: bool) -> None:
        """Give the session a slot or, if it may wait, a place in the queue. Raises Busy."""
        with self._lock:
            if self._shut:
                raise Busy("the server is shutting down")
            if len(self._admitted) < self._slots:
                self._give(session)
            elif wait and len(self._waiting) < self._places:
                self._waiting.append(session)
                self._commands.put(Wake())
            else:
                raise Busy("no free channels")

    def leave(self, session: EngineSession) -> None:
        """Free its slot, or its place in the queue."""
        with self._lock:
            if session in self._admitted:
                self._admitted.remove(session)
                if self._waiting:
                    self._give(self._waiting.popleft())
            elif session in self._waiting:
                self._waiting.remove(session)

    def shut(self) -> None:
        """Refuse all sessions from now on."""
        with self._lock:
            self._shut = True

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return len(self._admitted)

    @property
    def queued(self) -> int:
        """How many sessions wait."""
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[EngineSession, ...]:
        """The sessions that wait."""
        with self._lock:
            return tuple(self._waiting)

    def _give(self, session: EngineSession) -> None:
        self._admitted.add(session)
        self._commands.put(Join(session))


class ActiveSessions:
    """Belongs to the engine's thread. An error of one session ends that session alone."""

    def __init__(
        self,
        name: str,
        make_batch: Callable[[], Batch[Any]],
        admission: Admission,
        statistics: Statistics,
    ) -> None:
        self._name, self._make_batch = name, make_batch
        self._admission, self._statistics = admission, statistics
        self._sessions: dict[EngineSession, None] = {}
        self.batch: Batch[Any] | None = make_batch()
        self._is_suspect = False
        """Whether a session of the batch failed by an error that was not its client's."""

    @property
    def sessions(self) -> list[EngineSession]:
        """The sessions of now."""
        return list(self._sessions)

    def join(self, session: EngineSession, now: float) -> None:
        """Start a session that was given a slot."""
        if session.closed or session.over:
            return
        self._sessions[session] = None
        self._statistics.queue_seconds.observe(now - session.opened)
        try:
            if self.batch is None:
                self.batch = self._make_batch()
            session.join(session.make_row(self.batch), now)
        except Exception as error:
            self.refuse(session, error)
        else:
            self.emit(session, [Ready()])

    def emit(self, session: EngineSession, events: list[SessionEvent]) -> None:
        """Deliver events, unless the client has left."""
        if session.closed or not events:
            return
        try:
            session.deliver(events)
        except Exception as error:
            self._log_fault(error, "events could not be delivered, the session ends")
            self.drop(session, "failed")

    def end(
        self,
        session: EngineSession,
        reason: Reason,
        message: str = "",
        events: list[SessionEvent] | None = None,
    ) -> None:
        """Free the slot, then deliver `events` and the end."""
        deliver, is_heard = session.deliver, not (session.closed or session.over)
        self.drop(session, reason)
        if not is_heard:
            return
        try:
            deliver([*(events or ()), Ended(reason, message)])
        except Exception as error:
            self._log_fault(error, "the end of a session could not be delivered")

    def refuse(self, session: EngineSession, error: Exception) -> None:
        """End a session for an error of its own; a client gets the text of errors that are meant
        for users."""
        if session.over:
            return
        if not isinstance(error, UsageError):
            self._is_suspect = True
            self._log_fault(error, "a session failed, and ends")
        message = str(error) if isinstance(error, KyutaiOnnxError) else INTERNAL_ERROR
        self.end(session, "failed", message)

    def drop(self, session: EngineSession, reason: str) -> None:
        """Free the slot, or the place in the queue, unless that was done."""
        if session.over:
            return
        row = session.row
        session.release()
        self._sessions.pop(session, None)
        if row is not None:
            self._statistics.session_steps.observe(session.steps)
            self._leave(row)
        self._statistics.ended[reason] += 1
        self._admission.leave(session)

    def fail(self, error: Exception) -> None:
        """End all sessions and continue with a new batch: the state of the old one is in doubt."""
        self._log_fault(error, f"the batch failed, {len(self._sessions)} sessions end")
        self.batch = None
        for session in self.sessions:
            self.end(session, "failed", INTERNAL_ERROR)

    def _leave(self, row: Row[Any]) -> None:
        try:
            if self.batch is not None:
                self.batch.leave(row)
        except Exception as error:
            self.fail(error)
        if self._is_suspect and not self._sessions:
            self.batch, self._is_suspect = None, False

    def _log_fault(self, error: Exception, what: str) -> None:
        self._statistics.faults += 1
        LOG.error("%s: %s", self._name, what, exc_info=error)


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

    def stop(self, drain: float) -> None:
        """Refuse new sessions, and be `finished` within `drain` seconds. Thread-safe."""
        self.admission.shut()
        self.commands.put(Stop(drain))

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
            self._drain(now + command.drain)

    def _drain(self, deadline: float) -> None:
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
