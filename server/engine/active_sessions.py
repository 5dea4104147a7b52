"""The sessions that have a slot, and how each of them ends."""

import logging
from collections.abc import Callable
from typing import Any

from ...models.batch import Batch, Row
from ...runtime.errors import KyutaiOnnxError, UsageError
from .admission import Admission
from .engine_session import EngineSession
from .events import INTERNAL_ERROR, Ended, Ready, Reason, SessionEvent
from .statistics import Statistics

LOG = logging.getLogger(__name__)


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
