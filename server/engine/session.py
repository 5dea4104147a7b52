"""A session of a client in an engine: the client's side, which any thread may use."""

import math
from collections.abc import Callable
from typing import Any

from ...runtime.errors import UsageError
from .commands import Cancel, Feed, Hold
from .engine import Engine
from .engine_session import EndOfInput, Input, MakeRow, Mark, Reset
from .events import Deliver


class Session:
    """One stream of a model. Thread-safe; nothing blocks.

    `make_row` is called with the batch once there is a slot, and returns the row that it joined;
    then `Ready()` is delivered, or `Ended("busy")` if no slot became free in `wait` seconds
    (`Limits.wait` at most). `room` is called when the backlog is no longer above `backlog` seconds
    or words, or the limit of that name. All three run on the engine's thread and must not block.
    What a session is fed is used in its order, once there is a slot; after its end it is ignored.
    A session that is garbage is closed; the engine keeps what `deliver` refers to.

    Raises Busy if all slots are taken and it must not wait, or the queue is full.
    """

    def __init__(
        self,
        engine: Engine,
        make_row: MakeRow,
        deliver: Deliver,
        *,
        wait: float = 0.0,
        room: Callable[[], None] | None = None,
        backlog: float = math.inf,
    ) -> None:
        self._engine = engine
        self._ended = False
        self._admitted = engine.admit(make_row, deliver, room, wait=wait, backlog=backlog)

    def __del__(self) -> None:
        if hasattr(self, "_admitted") and not self.over:  # a refused session has none
            self._cancel()

    def feed(self, item: object) -> None:
        """Queue samples float32 `[n]` at the model's rate, or text; the engine keeps a copy.

        Raises UsageError, and takes nothing, for anything else, for a message that is too long, if
        too much waits already, or after `end`.
        """
        try:
            chunk = self._engine.intake.check(item)
        except UsageError:
            self._engine.statistics.refused_inputs += 1
            raise
        if chunk is not None:
            self._queue(chunk)

    def mark(self, id: int, *, flush: bool = False) -> None:  # noqa: A002
        """Have `Marked(id)` delivered when all that was fed before is transcribed. The text lags
        behind the audio, so this takes as much audio after the mark, or `flush`, which feeds
        silence.

        Raises UsageError if the model does not transcribe, and as `feed` does.
        """
        if not self._engine.transcribes:
            raise UsageError("this model does not transcribe: send no marks")
        self._queue(Mark(id, flush, self._engine.intake.least))

    def reset(self, change: Callable[[Any], object] | None = None) -> None:
        """Start a new stream after what was fed before, with another `Ready`. `change` is called
        with the row first, on the engine's thread. Raises as `feed` does."""
        self._queue(Reset(self._engine.intake.least, change))

    def end(self) -> None:
        """Finish what was fed, then have `Ended("done")` delivered."""
        if not self._ended:
            self._ended = True
            self._engine.commands.put(Feed(self._admitted, EndOfInput()))

    def close(self) -> None:
        """Leave at once, whatever is left; nothing is delivered any more, but for what is being
        delivered right now."""
        if not self.over:
            self._cancel()
            self._engine.admission.leave(self._admitted)

    def hold(self, held: bool) -> None:
        """Pause the session while its client does not read what it is sent, or resume it."""
        if not self.over:
            self._engine.commands.put(Hold(self._admitted, held))

    @property
    def backlog(self) -> float:
        """Seconds of audio, or words, that were fed and are not used yet. Stop reading the client
        while it is above `Limits.backlog`. The shortest message counts for 10 ms."""
        return self._admitted.backlog.amount / self._engine.intake.unit

    @property
    def over(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self._admitted.over or self._admitted.closed

    def _cancel(self) -> None:
        self._admitted.closed = True
        self._engine.commands.put(Cancel(self._admitted))

    def _queue(self, item: Input) -> None:
        if self._ended:
            raise UsageError("the session has ended: open another one")
        if self.over:
            return
        try:
            self._admitted.backlog.add(item.cost)
        except UsageError:
            self._engine.statistics.refused_inputs += 1
            raise
        self._engine.commands.put(Feed(self._admitted, item))
