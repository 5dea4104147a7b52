"""Admission: which streams have a slot, which wait for one, and which are refused."""

import threading
from collections import deque

from .commands import CommandQueue, Join, Wake
from .events import Busy
from .stream import Stream


class Admission:
    """Admit at most `slots` streams, and queue `places` more in their order. Thread-safe.

    A slot that is freed goes to the next stream at once: its command to join comes after the
    command by which the last owner left.
    """

    def __init__(self, slots: int, places: int, commands: CommandQueue) -> None:
        self._slots, self._places, self._commands = slots, places, commands
        self._lock = threading.Lock()
        self._admitted: set[Stream] = set()
        self._waiting: deque[Stream] = deque()
        self._shut = False

    def enter(self, stream: Stream, *, wait: bool) -> None:
        """Give the stream a slot or, if it may wait, a place in the queue. Raises Busy."""
        with self._lock:
            if self._shut:
                raise Busy("the server is shutting down")
            if len(self._admitted) < self._slots:
                self._give(stream)
            elif wait and len(self._waiting) < self._places:
                self._waiting.append(stream)
                self._commands.put(Wake())
            else:
                raise Busy("no free channels")

    def leave(self, stream: Stream) -> None:
        """Free its slot, or its place in the queue."""
        with self._lock:
            if stream in self._admitted:
                self._admitted.remove(stream)
                if self._waiting:
                    self._give(self._waiting.popleft())
            elif stream in self._waiting:
                self._waiting.remove(stream)

    def shut(self) -> None:
        """Refuse all streams from now on."""
        with self._lock:
            self._shut = True

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return len(self._admitted)

    @property
    def queued(self) -> int:
        """How many streams wait."""
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[Stream, ...]:
        """The streams that wait."""
        with self._lock:
            return tuple(self._waiting)

    def _give(self, stream: Stream) -> None:
        self._admitted.add(stream)
        self._commands.put(Join(stream))
