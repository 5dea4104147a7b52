"""What every handler of a request needs: the models, the limits, who may come in."""

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
from ..wire.strict_json import MOST_BYTES, parse_object
from .auth import Keys, Origins, RateLimit, SessionCounts, WrongKeys
from .connections import ConnectionLimiter
from .uploads import Uploads

WORKERS = 4
"""Threads that make voices ready."""
CONVERTERS = 2
"""Threads that parse and convert what clients send: no more is done at once, however many send."""
AT_ONCE = 4
"""Requests that begin, and clients whose messages are handled on, in one turn of the event loop,
however many have come."""
CONVERTED_AT_ONCE = 1 << 15
"""Bytes of a message whose parsing, or of samples whose check, takes the event loop no time to
speak of."""

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
        self.stopping = False
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
        return not self.stopping and self.is_alive

    async def work(
        self,
        function: Callable[_Params, _Result],
        *arguments: _Params.args,
        **named: _Params.kwargs,
    ) -> _Result:
        """Calls a function that takes long, away from the event loop."""
        return await _called(self._workers, functools.partial(function, *arguments, **named))

    async def take_turn(self) -> None:
        """Waits until a request, or a client with many messages, may go on: those that watch the
        server wait for few of them."""
        async with self._turns:
            await asyncio.sleep(0)

    async def convert(
        self,
        size: int,
        function: Callable[_Params, _Result],
        *arguments: _Params.args,
        **named: _Params.kwargs,
    ) -> _Result:
        """Calls a function on `size` bytes of a client's, away from the event loop if they are
        many."""
        if size <= CONVERTED_AT_ONCE:
            return function(*arguments, **named)
        return await _called(self._converters, functools.partial(function, *arguments, **named))

    async def parse(self, parse: Callable[[bytes], _Result], message: bytes) -> _Result:
        """What a message says."""
        return await self.convert(len(message), parse, message)

    async def receive_object(self, request: web.Request) -> dict[str, Any]:
        """Return the JSON object of a body. Raises as `Uploads` does, and ProtocolError."""
        return await self.parse(parse_object, await self.uploads.receive(request, MOST_BYTES))

    async def feed(self, session: Session, pcm: Pcm) -> None:
        """Gives a session samples; raises as its `feed` does."""
        await self.convert(pcm.nbytes, session.feed, pcm)

    async def close(self) -> None:
        """Ends the threads, once they have done what they are doing, and the processes at once."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._converters.shutdown(wait=False, cancel_futures=True)
        await self.decoders.stop()
        self.uploads.close()


async def _called(threads: ThreadPoolExecutor, call: Callable[[], _Result]) -> _Result:
    result: _Result = await asyncio.get_running_loop().run_in_executor(threads, call)
    return result


def _sessions(served: ServedModel) -> int:
    """How many a model may have, those that wait for a slot included."""
    return served.engine.slots + served.engine.limits.queue


CONTEXT = web.AppKey("context", Context)
