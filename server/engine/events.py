"""What an engine reports of a session besides the model's own events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...models.events import Event
from ...runtime.errors import KyutaiOnnxError

INTERNAL_ERROR = "internal error; the server's log has the cause"
"""What clients get instead of an error that is not their own."""

Reason = Literal["done", "idle", "too long", "stalled", "busy", "shutdown", "failed"]


@dataclass(frozen=True)
class Ready:
    """The session has a slot, or was reset: a new stream starts."""


@dataclass(frozen=True)
class Marked:
    """All that was fed before the mark `id` has been transcribed."""

    id: int


@dataclass(frozen=True)
class Ended:
    """The last event of a session, which has no slot from now on.

    `done`: everything was processed. `idle`, `too long`, `stalled`: a limit was reached. `busy`: no
    slot became free in time. `shutdown`: the engine stops. `failed`: see `message`, a line for the
    client.
    """

    reason: Reason
    message: str = ""

    @property
    def is_internal(self) -> bool:
        """Whether it failed by no fault of the client."""
        return self.message == INTERNAL_ERROR


SessionEvent = Event | Ready | Marked | Ended

Deliver = Callable[[Sequence[SessionEvent]], None]
"""Called on the engine's thread, never with an empty sequence; must not block."""


class Busy(KyutaiOnnxError):  # noqa: N818
    """There is neither a free slot nor room to wait for one."""
