"""Who has a slot, and who waits for one."""

import threading
from collections import deque

from ..wire import NO_ROOM, SHUTTING_DOWN
from .commands import CommandQueue, Join, Wake
from .engine_session import EngineSession
from .events import Busy


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
                raise Busy(SHUTTING_DOWN)
            if len(self._admitted) < self._slots:
                self._give(session)
            elif wait and len(self._waiting) < self._places:
                self._waiting.append(session)
                self._commands.put(Wake())
            else:
                raise Busy(NO_ROOM)

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
