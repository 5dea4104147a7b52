"""What an engine tells of a session besides the model's own events, and why it refuses one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...models.events import Event
from ...runtime.errors import KyutaiOnnxError

Reason = Literal["done", "idle", "too long", "stalled", "busy", "shutdown", "failed"]


@dataclass(frozen=True)
class Ready:
    """The session has a slot, or was reset: a new stream begins."""


@dataclass(frozen=True)
class Marked:
    """All that was fed before the mark `id` has been transcribed."""

    id: int


@dataclass(frozen=True)
class Ended:
    """The last that is told of a session, which has no slot from now on.

    `done`: all is said. `idle`, `too long`, `stalled`: a limit was reached. `busy`: no slot became
    free in time. `shutdown`: the engine stops. `failed`: see `message`, a line for the client.
    """

    reason: Reason
    message: str = ""


SessionEvent = Event | Ready | Marked | Ended

Deliver = Callable[[Sequence[SessionEvent]], None]
"""Called on the engine's thread, never with nothing; must not block."""


class Busy(KyutaiOnnxError):  # noqa: N818
    """There is neither a free slot nor room to wait for one."""
