"""The streams that have a slot, each in its row of the batch: how they join, report and leave."""

import logging
from collections.abc import Callable
from typing import Any

from ...models.batch import Batch, Row
from ...runtime.errors import KyutaiOnnxError, UsageError
from .admission import Admission
from .events import INTERNAL_ERROR, Ended, Ready, Reason, SessionEvent
from .statistics import Statistics
from .stream import Stream

LOG = logging.getLogger(__name__)


class ActiveStreams:
    """Belongs to the engine's thread. An error of one stream ends that stream alone."""

    def __init__(
        self,
        name: str,
        make_batch: Callable[[], Batch[Any]],
        admission: Admission,
        statistics: Statistics,
    ) -> None:
        self._name, self._make_batch = name, make_batch
        self._admission, self._statistics = admission, statistics
        self._streams: dict[Stream, None] = {}
        self.batch: Batch[Any] | None = make_batch()
        self._is_suspect = False
        """Whether a stream of the batch failed by an error that was not its client's."""

    @property
    def streams(self) -> list[Stream]:
        """The streams of now."""
        return list(self._streams)

    def join(self, stream: Stream, now: float) -> None:
        """Start a stream that was given a slot."""
        if stream.closed or stream.over:
            return
        self._streams[stream] = None
        self._statistics.queue_seconds.observe(now - stream.opened)
        try:
            if self.batch is None:
                self.batch = self._make_batch()
            stream.join(stream.make_row(self.batch), now)
        except Exception as error:
            self.refuse(stream, error)
        else:
            self.emit(stream, [Ready()])

    def emit(self, stream: Stream, events: list[SessionEvent]) -> None:
        """Deliver events, unless the client has left."""
        if stream.closed or not events:
            return
        try:
            stream.deliver(events)
        except Exception as error:
            self._log_fault(error, "events could not be delivered, the session ends")
            self.drop(stream, "failed")

    def end(
        self,
        stream: Stream,
        reason: Reason,
        message: str = "",
        events: list[SessionEvent] | None = None,
    ) -> None:
        """Free the slot, then deliver `events` and the end."""
        deliver, is_heard = stream.deliver, not (stream.closed or stream.over)
        self.drop(stream, reason)
        if not is_heard:
            return
        try:
            deliver([*(events or ()), Ended(reason, message)])
        except Exception as error:
            self._log_fault(error, "the end of a session could not be delivered")

    def refuse(self, stream: Stream, error: Exception) -> None:
        """End a stream for an error of its own; a client gets the text of errors that are meant for
        users."""
        if stream.over:
            return
        if not isinstance(error, UsageError):
            self._is_suspect = True
            self._log_fault(error, "a session failed, and ends")
        message = str(error) if isinstance(error, KyutaiOnnxError) else INTERNAL_ERROR
        self.end(stream, "failed", message)

    def drop(self, stream: Stream, reason: str) -> None:
        """Free the slot, or the place in the queue, unless that was done."""
        if stream.over:
            return
        row = stream.row
        stream.release()
        self._streams.pop(stream, None)
        if row is not None:
            self._statistics.session_steps.observe(stream.steps)
            self._leave(row)
        self._statistics.ended[reason] += 1
        self._admission.leave(stream)

    def fail(self, error: Exception) -> None:
        """End all streams and continue with a new batch: the state of the old one is in doubt."""
        self._log_fault(error, f"the batch failed, {len(self._streams)} sessions end")
        self.batch = None
        for stream in self.streams:
            self.end(stream, "failed", INTERNAL_ERROR)

    def _leave(self, row: Row[Any]) -> None:
        try:
            if self.batch is not None:
                self.batch.leave(row)
        except Exception as error:
            self.fail(error)
        if self._is_suspect and not self._streams:
            self.batch, self._is_suspect = None, False

    def _log_fault(self, error: Exception, what: str) -> None:
        self._statistics.faults += 1
        LOG.error("%s: %s", self._name, what, exc_info=error)
