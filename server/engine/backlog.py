"""How much of a session waits to be heard or said."""

import threading

from ...runtime.errors import UsageError


class Backlog:
    """Counts what was brought and not yet used, in samples or words. Thread-safe.

    Above `soft` its adapter should stop to read; nothing is taken beyond `hard`.
    """

    def __init__(self, soft: float, hard: float) -> None:
        self._soft, self._hard = soft, hard
        self._lock = threading.Lock()
        self._crowded = False
        self.amount = 0

    def add(self, cost: int) -> None:
        """Raises UsageError where there is no room, and takes nothing."""
        with self._lock:
            if self.amount + cost > self._hard:
                raise UsageError("too much waits to be processed: send more slowly")
            self.amount += cost
            self._crowded |= self.amount > self._soft

    def take(self, cost: int) -> bool:
        """Whether there is room again, after there was none."""
        with self._lock:
            self.amount = self.amount - cost
            eased = self._crowded and self.amount <= self._soft
            self._crowded &= not eased
            return eased
