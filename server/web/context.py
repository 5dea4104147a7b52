"""What every handler of a request needs: the models, the limits, who may come in."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from aiohttp import web

from ..config import ServerConfig
from ..served import Shelf
from .keys import Keys, RateLimit, SessionCounts
from .origins import Origins

WORKERS = 4
"""Threads that decode files and make voices ready."""
PARSED_AT_ONCE = 1 << 15
"""Bytes of a message whose parsing keeps the event loop for no time to speak of."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Context:
    """Belongs to the event loop."""

    def __init__(self, config: ServerConfig, shelf: Shelf) -> None:
        limits = config.limits
        self.config, self.limits, self.shelf = config, limits, shelf
        self.keys = Keys(config.api_keys)
        self.origins = Origins(config.cors, local=config.keyless)
        self.rate = RateLimit(limits.rate)
        self.sessions = SessionCounts(limits.sessions)
        self.uploads = asyncio.Semaphore(limits.uploads)
        self.asked: WeakSet[asyncio.BaseTransport] = WeakSet()
        """Connections that have asked for something."""
        self.stopping = False
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="web")

    @property
    def is_alive(self) -> bool:
        """Whether no model's engine has failed."""
        return all(served.engine.alive for served in self.shelf.all)

    @property
    def is_ready(self) -> bool:
        """Whether all models take sessions."""
        return not self.stopping and self.is_alive

    async def work(
        self, function: Callable[Given, Result], *arguments: Given.args, **named: Given.kwargs
    ) -> Result:
        """Calls a function that takes long, away from the event loop."""
        loop = asyncio.get_running_loop()

        def call() -> Any:
            return function(*arguments, **named)

        result: Result = await loop.run_in_executor(self._workers, call)
        return result

    async def parse(self, parse: Callable[[bytes], Result], message: bytes) -> Result:
        """What a message says; a long one is parsed away from the event loop."""
        if len(message) > PARSED_AT_ONCE:
            return await self.work(parse, message)
        return parse(message)

    def close(self) -> None:
        """Ends the threads, once they have done what they are doing."""
        self._workers.shutdown(wait=False, cancel_futures=True)


CONTEXT = web.AppKey("context", Context)
