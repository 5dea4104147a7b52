"""A client's session with an engine, from the event loop's side."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from ...models.batch import Row
from ...models.events import Event
from ..engine.engine import Engine
from ..engine.events import Busy, Ended, Marked, Ready, SessionEvent
from ..wire.messagepack import NO_ROOM

MOST_UNREAD = 256
"""Events that wait for a client; with more of them its session is held."""


class SessionEnded(Exception):  # noqa: N818
    """A session ended before all was said, for the reason that is told."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message or ended.reason)
        self.ended = ended


class AsyncSession:
    """What is told of the session waits here until the client was sent it. Leaving the block gives
    back the slot. `ahead` seconds may wait for the model before `room` waits, no more than anyone
    may. Raises Busy where there is no room, at once."""

    def __init__(
        self,
        engine: Engine,
        begin: Callable[[Any], Row],
        *,
        wait: float = 0.0,
        ahead: float = math.inf,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._told: list[SessionEvent] = []
        self._news, self._eased = asyncio.Event(), asyncio.Event()
        self._held = False
        self._failure: BaseException | None = None
        self._limit = min(ahead, engine.limits.backlog)
        self.session = engine.open(
            begin, self._deliver, wait=wait, room=self._ease, backlog=self._limit
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.session.close()

    async def told(self) -> list[SessionEvent]:
        """What was told since the last time, one event at least."""
        if not self._told and self._held:
            self._held = False
            self.session.hold(False)
        while not self._told:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        told, self._told = self._told, []
        return told

    async def events(self, feeding: Coroutine[Any, Any, None]) -> AsyncIterator[Event]:
        """What the model finds while `feeding` feeds the session, to its end.

        Raises what `feeding` raises, Busy where no slot became free, SessionEnded where not all was
        said.
        """
        task = asyncio.create_task(feeding)
        task.add_done_callback(self._fed)
        try:
            while True:
                for told in await self.told():
                    if isinstance(told, Ended):
                        if told.reason == "busy":
                            raise Busy(NO_ROOM)
                        if told.reason != "done":
                            raise SessionEnded(told)
                        return
                    if not isinstance(told, Ready | Marked):
                        yield told
        finally:
            task.cancel()

    def _fed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._news.set()

    async def room(self) -> None:
        """Waits until less is ahead of the model than may be."""
        while self.session.backlog > self._limit and not self.session.over:
            self._eased.clear()
            if self.session.backlog > self._limit:
                await self._eased.wait()

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do or to tell still."""
        return self.session.backlog > 0 or bool(self._told)

    def _deliver(self, told: Sequence[SessionEvent]) -> None:
        self._call(self._take, told)

    def _ease(self) -> None:
        self._call(self._eased.set)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """On the event loop, from the engine's thread; nothing where the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _take(self, told: Sequence[SessionEvent]) -> None:
        self._told += told
        self._news.set()
        self._eased.set()
        if len(self._told) > MOST_UNREAD and not self._held:
            self._held = True
            self.session.hold(True)
