"""A client's hold on its stream in an engine."""

from collections.abc import Callable
from typing import Any

from ...runtime.errors import UsageError
from .admission import Admission
from .commands import Cancel, CommandQueue, Feed, Hold
from .inputs import End, Input, Intake, Mark, Reset
from .statistics import Statistics
from .stream import Stream


class Session:
    """One stream of a model, made by `Engine.open`. Thread-safe, and nothing blocks.

    What it is given is used in its order, once there is a slot; after its end, in whichever way it
    came, it is ignored. A session that is garbage is closed: mind that what `deliver` refers to is
    kept by the engine.
    """

    def __init__(
        self,
        stream: Stream,
        intake: Intake,
        commands: CommandQueue,
        admission: Admission,
        statistics: Statistics,
        *,
        writes: bool,
    ) -> None:
        self._stream, self._intake, self._writes = stream, intake, writes
        self._commands, self._admission, self._statistics = commands, admission, statistics
        self._ended = False

    def __del__(self) -> None:
        if not self.over:
            self._abandon()

    def feed(self, item: object) -> None:
        """Samples float32 `[n]` at the model's rate, or text; the engine keeps a copy.

        Raises UsageError, and takes nothing, where it is neither or has values that are none, is
        longer than a message may be, where too much waits already, or after `end`.
        """
        try:
            fed = self._intake.check(item)
        except UsageError:
            self._statistics.refused_inputs += 1
            raise
        if fed is not None:
            self._bring(fed)

    def mark(self, id: int, *, flush: bool = False) -> None:  # noqa: A002
        """Has `Marked(id)` delivered when all that was fed before is transcribed. That takes as
        much audio after it as the text lags behind: silence from here where it is to `flush`.

        Raises UsageError where the model does not transcribe, and as `feed` does.
        """
        if not self._writes:
            raise UsageError("only speech to text is marked")
        self._bring(Mark(id, flush, self._intake.least))

    def reset(self, change: Callable[[Any], object] | None = None) -> None:
        """Begins a new stream after what was fed before, with another `Ready`; `change` is called
        with the row first, on the engine's thread. Raises as `feed` does."""
        self._bring(Reset(self._intake.least, change))

    def end(self) -> None:
        """Nothing more will come: what is left is said, then `Ended("done")` delivered."""
        if not self._ended:
            self._ended = True
            self._commands.put(Feed(self._stream, End()))

    def close(self) -> None:
        """Leaves at once, whatever is left; nothing is delivered any more, but for what is being
        delivered right now."""
        if not self.over:
            self._abandon()
            self._admission.leave(self._stream)

    def hold(self, held: bool) -> None:
        """Is not stepped while it is held: its client does not read what it is sent."""
        if not self.over:
            self._commands.put(Hold(self._stream, held))

    @property
    def backlog(self) -> float:
        """Seconds of audio, or words, that were brought and not yet used; the adapter stops to read
        while it is above `Limits.backlog`. The shortest message counts for 10 ms."""
        return self._stream.backlog.amount / self._intake.unit

    @property
    def over(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._stream.over or self._stream.closed

    def _abandon(self) -> None:
        self._stream.closed = True
        self._commands.put(Cancel(self._stream))

    def _bring(self, given: Input) -> None:
        if self._ended:
            raise UsageError("this session was ended: open another one")
        if self.over:
            return
        try:
            self._stream.backlog.add(given.cost)
        except UsageError:
            self._statistics.refused_inputs += 1
            raise
        self._commands.put(Feed(self._stream, given))
