"""How many sessions each caller has, and when all have ended."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine.events import Busy
from ..wire import SHUTTING_DOWN


class TooManySessions(Exception):  # noqa: N818
    """The caller runs as many sessions as it may."""


class SessionCounts:
    """Count the sessions of each caller, at most `most` at once; None is no limit. Those that wait
    for a slot, or for their client, count too."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._running: Counter[str] = Counter()
        self._none = asyncio.Event()
        self._none.set()
        self.is_shut = False
        """Whether the server takes no more sessions."""

    @property
    def running(self) -> int:
        """The sessions of all callers."""
        return self._running.total()

    def shut(self) -> None:
        """Refuse all sessions from now on."""
        self.is_shut = True

    async def until_none(self) -> None:
        """Wait until no session runs."""
        await self._none.wait()

    @contextmanager
    def session(self, caller: str) -> Iterator[None]:
        """Count a session while the block runs. Raises TooManySessions, and Busy once it is
        shut."""
        if self.is_shut:
            raise Busy(SHUTTING_DOWN)
        if self._most is not None and self._running[caller] >= self._most:
            raise TooManySessions(
                f"{self._most} sessions are running, the most for one caller: close one first"
            )
        self._running[caller] += 1
        self._none.clear()
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
            if not self._running:
                self._none.set()
