"""A client and a session that talk, both at once, until either has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from aiohttp import WSCloseCode

from ...models.batch import Row
from ...runtime.errors import UsageError
from ..engine.engine import Engine
from ..engine.events import Busy, Ended, Told
from ..engine.session import Session
from ..protocols.errors import ProtocolError
from .logs import log
from .socket import Gone, Socket
from .visit import Visit

TRY_AGAIN_LATER = WSCloseCode.TRY_AGAIN_LATER
CLOSING: dict[str, tuple[WSCloseCode, str]] = {
    "idle": (WSCloseCode.POLICY_VIOLATION, "nothing was sent for too long"),
    "too long": (WSCloseCode.POLICY_VIOLATION, "the session has lasted as long as one may"),
    "stalled": (WSCloseCode.POLICY_VIOLATION, "what was sent was not taken for too long"),
    "shutdown": (WSCloseCode.GOING_AWAY, "the server is shutting down"),
    "failed": (WSCloseCode.INTERNAL_ERROR, "the session failed"),
}
"""How a websocket ends for each reason that is neither `done` nor `busy`."""


class Talk(Protocol):
    """One protocol's part in a talk."""

    def hear(self, session: Session, message: bytes | str) -> Awaitable[None]:
        """Takes a message of the client's; raises ProtocolError or UsageError for a bad one."""

    def tell(self, session: Session, told: Told) -> Iterable[bytes]:
        """The messages that tell the client."""

    def refuse(self) -> Sequence[bytes]:
        """The messages that tell the client that there is no room, if the protocol has any."""


async def converse(
    socket: Socket, talk: Talk, engine: Engine, begin: Callable[[Any], Row], *, wait: float
) -> None:
    """Hears and tells, in a session that waits so many seconds for a slot, until the client leaves
    or the session ends, then closes the websocket."""
    try:
        visit = Visit(engine, begin, wait=wait)
    except Busy:
        await refuse(socket, talk.refuse())
        return
    with visit:
        await _converse(socket, visit, talk)


async def _converse(socket: Socket, visit: Visit, talk: Talk) -> None:
    try:
        ended = await first(_hear(socket, visit, talk), _tell(socket, visit, talk))
    except Gone as gone:
        log("client gone", why=str(gone))
        socket.drop()
    except Busy as error:
        log("client refused", why=str(error))
        await refuse(socket, talk.refuse())
    except (ProtocolError, UsageError) as error:
        log("client misunderstood", why=str(error))
        await socket.finish(WSCloseCode.INVALID_TEXT, str(error))
    else:
        await _close(socket, talk, ended)


async def refuse(socket: Socket, messages: Sequence[bytes]) -> None:
    """Tells that there is no room by these messages, or without any by how it closes."""
    try:
        for message in messages:
            await socket.send(message)
    except Gone:
        socket.drop()
        return
    if messages:
        await socket.finish()
    else:
        await socket.finish(TRY_AGAIN_LATER, "no free channels")


async def first(*works: Coroutine[Any, Any, Any]) -> Any:
    """What the first that ends returns or raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    results = [task.result() for task in tasks if task in done]
    return results[0]


async def _hear(socket: Socket, visit: Visit, talk: Talk) -> None:
    while (message := await socket.receive(lambda: visit.is_busy)) is not None:
        await talk.hear(visit.session, message)
        await visit.room()


async def _tell(socket: Socket, visit: Visit, talk: Talk) -> Ended:
    while True:
        for told in await visit.told():
            if isinstance(told, Ended) and told.reason == "busy":
                return told
            for message in talk.tell(visit.session, told):
                await socket.send(message)
            if isinstance(told, Ended):
                return told


async def _close(socket: Socket, talk: Talk, ended: Ended | None) -> None:
    if ended is None:
        await socket.agree()
    elif ended.reason == "busy":
        await refuse(socket, talk.refuse())
    elif ended.reason in CLOSING:
        code, reason = CLOSING[ended.reason]
        log("session ended", why=ended.reason)
        await socket.finish(code, ended.message or reason)
    else:
        await socket.finish()
