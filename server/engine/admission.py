"""Who has a slot, who waits for one, and who is sent away."""

import threading
from collections import deque
from typing import TYPE_CHECKING

from .commands import CommandQueue, Join, Wake
from .events import Busy

if TYPE_CHECKING:
    from .stream import Stream


class Admission:
    """`slots` streams at most, and a queue of `places` behind them, in their order. Thread-safe.

    A slot that is given back is handed on at once: the command to join comes after the one by which
    its last owner left.
    """

    def __init__(self, slots: int, places: int, commands: CommandQueue) -> None:
        self._slots, self._places, self._commands = slots, places, commands
        self._lock = threading.Lock()
        self._inside: set[Stream] = set()
        self._waiting: deque[Stream] = deque()
        self._shut = False

    def enter(self, stream: "Stream", *, wait: bool) -> None:
        """Raises Busy where there is no room."""
        with self._lock:
            if self._shut:
                raise Busy("the server is shutting down")
            if len(self._inside) < self._slots:
                self._give(stream)
            elif wait and len(self._waiting) < self._places:
                self._waiting.append(stream)
                self._commands.put(Wake())
            else:
                raise Busy("no free channels")

    def leave(self, stream: "Stream") -> None:
        """Gives back the slot, or the place in the queue."""
        with self._lock:
            if stream in self._inside:
                self._inside.remove(stream)
                if self._waiting:
                    self._give(self._waiting.popleft())
            elif stream in self._waiting:
                self._waiting.remove(stream)

    def shut(self) -> None:
        """Nobody enters any more."""
        with self._lock:
            self._shut = True

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return len(self._inside)

    @property
    def queued(self) -> int:
        """Streams that wait."""
        return len(self._waiting)

    @property
    def waiting(self) -> "tuple[Stream, ...]":
        """They themselves."""
        with self._lock:
            return tuple(self._waiting)

    def _give(self, stream: "Stream") -> None:
        self._inside.add(stream)
        self._commands.put(Join(stream))
