"""A session of the engine for asyncio: events to await, and backpressure both ways."""

import asyncio
import functools
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self

from ...models.events import Event
from ..engine.events import Busy, Ended, Marked, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..wire import NO_ROOM

MOST_UNREAD = 256
"""Events that wait for a client; with more of them its session is held."""
AHEAD = 30.0
"""Seconds of decoded audio that wait for the model: the rest waits in the posted file."""
_PIECE = re.compile(r"(?:\s*\S+){1,200}\s*")
"""Words of a long text that are fed at once."""


class SessionEnded(Exception):  # noqa: N818
    """A session ended before it was done, for the reason in `ended`."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message or ended.reason)
        self.ended = ended


class AsyncSession(Session):
    """A session whose events wait here until the client was sent them. Leaving the block frees the
    slot.

    `given` are arguments of `ServedModel.join`. `ahead` seconds or words may wait for the model,
    and no more than the limit `backlog`, before `room` waits. Raises Busy as `Session` does.
    """

    def __init__(
        self, served: ServedModel, *, wait: float = 0.0, ahead: float = math.inf, **given: Any
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._unread: list[SessionEvent] = []
        self._news, self._eased = asyncio.Event(), asyncio.Event()
        self._held = False
        self._failure: BaseException | None = None
        self._limit = min(ahead, served.engine.limits.backlog)
        super().__init__(
            served.engine,
            functools.partial(served.join, **given),
            functools.partial(self._call, self._take),
            wait=wait,
            room=functools.partial(self._call, self._eased.set),
            backlog=self._limit,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def next_events(self) -> list[SessionEvent]:
        """Wait for events, and return all that have come, at least one."""
        if not self._unread and self._held:
            self._held = False
            self.hold(False)
        while not self._unread:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        events, self._unread = self._unread, []
        return events

    async def events(self, feeding: Coroutine[Any, Any, None]) -> AsyncIterator[Event]:
        """Yield the model's events while `feeding` feeds the session, to its end.

        Raises what `feeding` raises, Busy if no slot became free, SessionEnded if the session
        ended before it was done.
        """
        task = asyncio.create_task(feeding)
        task.add_done_callback(self._note_fed)
        try:
            while True:
                for event in await self.next_events():
                    if isinstance(event, Ended):
                        if event.reason == "busy":
                            raise Busy(NO_ROOM)
                        if event.reason != "done":
                            raise SessionEnded(event)
                        return
                    if not isinstance(event, Ready | Marked):
                        yield event
        finally:
            task.cancel()

    def _note_fed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._news.set()

    async def room(self) -> None:
        """Wait until the backlog is below its limit."""
        while self.backlog > self._limit and not self.over:
            self._eased.clear()
            if self.backlog > self._limit:
                await self._eased.wait()

    @property
    def is_busy(self) -> bool:
        """Whether input waits for the model, or events wait for the client."""
        return self.backlog > 0 or bool(self._unread)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call on the event loop, from the engine's thread; do nothing if the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _take(self, events: Sequence[SessionEvent]) -> None:
        self._unread += events
        self._news.set()
        self._eased.set()
        if len(self._unread) > MOST_UNREAD and not self._held:
            self._held = True
            self.hold(True)


class TextFeeder:
    """Feed a session a text in pieces of any size, no faster than it takes them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session, self._space = session, ""

    async def feed(self, text: str) -> None:
        """Feed more text; spaces alone wait for the text behind them."""
        text, self._space = self._space + text, ""
        if not text.strip():
            self._space = text[:1]
            return
        for found in _PIECE.finditer(text):
            self._session.feed(found.group())
            await self._session.room()
