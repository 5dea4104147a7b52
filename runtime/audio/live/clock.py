"""Time as the live loop sees it, so that tests can run it by a time of their own."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Reads the time and waits."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""

    def wait(self, seconds: float) -> None:
        """Returns when somebody wakes it, or after the given seconds."""

    def wake(self) -> None:
        """Ends the wait that is going on, or else the next one; from any thread."""


class WallClock:
    """`Clock` by the machine's own."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """See `Clock.wait`."""
        self._woken.wait(max(0.0, seconds))
        self._woken.clear()

    def wake(self) -> None:
        """See `Clock.wake`."""
        self._woken.set()
