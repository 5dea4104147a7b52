"""What every handler needs: the models, the limits, who may use the server, and threads."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from aiohttp import web

from ...runtime.audio import Pcm
from ..config import ServerConfig
from ..decoding import Decoders
from ..engine.session import Session
from ..registry import ModelRegistry, ServedModel
from ..wire import MOST_JSON, parse_object
from .auth import Keys, Origins, RateLimit, WrongKeys
from .connections import ConnectionLimiter
from .session_counts import SessionCounts
from .uploads import Uploads

WORKERS = 4
"""Threads that prepare voices."""
CONVERTERS = 2
"""Threads that parse and convert messages: no more are handled at once, however many clients
send."""
AT_ONCE = 4
"""New requests, and clients with many messages, that go on in one turn of the event loop."""
CONVERTED_AT_ONCE = 1 << 15
"""Bytes of a message or of samples that are handled on the event loop itself."""

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class Context:
    """Belongs to the event loop."""

    def __init__(
        self, config: ServerConfig, registry: ModelRegistry, limiter: ConnectionLimiter
    ) -> None:
        limits = config.limits
        self.config, self.limits, self.registry, self.limiter = config, limits, registry, limiter
        self.keys = Keys(config.api_keys)
        self.origins = Origins(config.cors, local=config.keyless)
        self.rate = RateLimit(limits.rate)
        self.wrong_keys = WrongKeys(limits.wrong_keys)
        self.sessions = SessionCounts(limits.sessions)
        self.uploads = Uploads(limits, config.spool)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.stopped = asyncio.Event()
        """Set once all engines have stopped."""
        self.decoders = Decoders(limits, sum(map(_sessions, registry.all)))
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="web")
        self._converters = ThreadPoolExecutor(CONVERTERS, thread_name_prefix="convert")

    @property
    def is_alive(self) -> bool:
        """Whether no model's engine has failed."""
        return all(served.engine.alive for served in self.registry.all)

    @property
    def is_ready(self) -> bool:
        """Whether all models take sessions."""
        return not self.sessions.is_shut and self.is_alive

    def free(self, served: ServedModel) -> int:
        """Return how many sessions a model would take now: none once the server is to stop."""
        return 0 if self.sessions.is_shut else served.engine.free

    async def work(
        self,
        function: Callable[_Params, _Result],
        *arguments: _Params.args,
        **named: _Params.kwargs,
    ) -> _Result:
        """Call a slow function in a thread."""
        return await _called(self._workers, functools.partial(function, *arguments, **named))

    async def take_turn(self) -> None:
        """Wait for a turn, so that probes of the server wait for few requests and messages."""
        async with self._turns:
            await asyncio.sleep(0)

    async def convert(
        self,
        size: int,
        function: Callable[_Params, _Result],
        *arguments: _Params.args,
        **named: _Params.kwargs,
    ) -> _Result:
        """Call a function on `size` bytes of a message, in a thread if they are many."""
        if size <= CONVERTED_AT_ONCE:
            return function(*arguments, **named)
        return await _called(self._converters, functools.partial(function, *arguments, **named))

    async def parse(self, parse: Callable[[bytes], _Result], message: bytes) -> _Result:
        """Parse a message, in a thread if it is large."""
        return await self.convert(len(message), parse, message)

    async def receive_object(self, request: web.Request) -> dict[str, Any]:
        """Return the JSON object of a body. Raises as `Uploads` does, and ProtocolError."""
        return await self.parse(parse_object, await self.uploads.receive(request, MOST_JSON))

    async def feed(self, session: Session, pcm: Pcm) -> None:
        """Feed samples to a session; raises as its `feed` does."""
        await self.convert(pcm.nbytes, session.feed, pcm)

    async def close(self) -> None:
        """End the threads, once they have done what they are doing, and the decoder processes at
        once."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._converters.shutdown(wait=False, cancel_futures=True)
        await self.decoders.stop()
        self.uploads.close()


async def _called(threads: ThreadPoolExecutor, call: Callable[[], _Result]) -> _Result:
    result: _Result = await asyncio.get_running_loop().run_in_executor(threads, call)
    return result


def _sessions(served: ServedModel) -> int:
    """Return how many sessions a model may have, queued ones included."""
    return served.engine.slots + served.engine.limits.queue


CONTEXT = web.AppKey("context", Context)
