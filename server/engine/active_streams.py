"""The streams that have a slot, each in its row of the batch: how they join, are told and leave."""

import logging
from collections.abc import Callable

from ...models.batch import Batch
from ...runtime.errors import KyutaiOnnxError, UsageError
from .admission import Admission
from .events import Ended, Ready, Reason, SessionEvent
from .statistics import Statistics
from .stream import Stream

LOG = logging.getLogger(__name__)
INTERNAL = "internal error; the server's log has the cause"


class ActiveStreams:
    """Belongs to the engine's thread. What goes wrong with one stream ends that one alone."""

    def __init__(
        self,
        name: str,
        make_batch: Callable[[], Batch],
        admission: Admission,
        statistics: Statistics,
    ) -> None:
        self._name, self._make_batch = name, make_batch
        self._admission, self._statistics = admission, statistics
        self._streams: dict[Stream, None] = {}
        self.batch: Batch | None = make_batch()
        self._doubted = False
        """Whether a stream of the batch failed by something other than its own doing."""

    @property
    def streams(self) -> list[Stream]:
        """Those of now."""
        return list(self._streams)

    def join(self, stream: Stream, now: float) -> None:
        """Begins a stream that was given a slot."""
        if stream.closed or stream.over:
            return
        self._streams[stream] = None
        self._statistics.queue_seconds.observe(now - stream.opened)
        try:
            if self.batch is None:
                self.batch = self._make_batch()
            stream.join(stream.begin(self.batch), now)
        except Exception as error:
            self.refuse(stream, error)
        else:
            self.tell(stream, [Ready()])

    def tell(self, stream: Stream, told: list[SessionEvent]) -> None:
        """Delivers, to whoever still listens."""
        if stream.closed or not told:
            return
        try:
            stream.deliver(told)
        except Exception as error:
            self._blame(error, "a session could not be told, and ends")
            self.drop(stream, "failed")

    def end(
        self,
        stream: Stream,
        reason: Reason,
        message: str = "",
        told: list[SessionEvent] | None = None,
    ) -> None:
        """Frees the slot, then tells so after `told`."""
        deliver, deaf = stream.deliver, stream.closed or stream.over
        self.drop(stream, reason)
        if deaf:
            return
        try:
            deliver([*(told or ()), Ended(reason, message)])
        except Exception as error:
            self._blame(error, "a session could not be told of its end")

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a stream for what went wrong with it; a client gets the text of errors that are
        meant for users."""
        if stream.over:
            return
        if not isinstance(error, UsageError):
            self._doubted = True
            self._blame(error, "a session failed, and ends")
        told = str(error) if isinstance(error, KyutaiOnnxError) else INTERNAL
        self.end(stream, "failed", told)

    def drop(self, stream: Stream, reason: str) -> None:
        """Frees the slot, or the place in the queue; nothing where that was done."""
        if stream.over:
            return
        row = stream.row
        stream.forget()
        self._streams.pop(stream, None)
        if row is not None:
            self._statistics.session_steps.observe(stream.steps)
            self._leave(row)
        self._statistics.ended[reason] += 1
        self._admission.leave(stream)

    def fail(self, error: Exception) -> None:
        """Ends all, and begins with a fresh batch: what the old one remembers is not to be
        trusted."""
        self._blame(error, f"the batch failed, {len(self._streams)} sessions end")
        self.batch = None
        for stream in self.streams:
            self.end(stream, "failed", INTERNAL)

    def _leave(self, row: object) -> None:
        try:
            if self.batch is not None:
                self.batch.leave(row)
        except Exception as error:
            self.fail(error)
        if self._doubted and not self._streams:
            self.batch, self._doubted = None, False

    def _blame(self, error: Exception, what: str) -> None:
        self._statistics.faults += 1
        LOG.error("%s: %s", self._name, what, exc_info=error)
