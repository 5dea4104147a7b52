"""A websocket session: accept a client, keep its websocket alive, and pass messages and events
between it and a session of the engine."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiohttp import WSCloseCode, WSMsgType, web

from ...runtime.errors import UsageError
from ..engine.events import Busy, Ended, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel, UnknownModel
from ..wire import NO_ROOM, SHUTTING_DOWN, ProtocolError
from .async_session import AsyncSession
from .client_timeout import client_timeout
from .context import CONTEXT, Context
from .logs import log
from .middleware import Handler, admit, keeping_place
from .session_counts import TooManySessions

PING_SECONDS = 10.0
CLOSE_SECONDS = 2.0
LONGEST_REASON = 120
"""Bytes of the reason in a close frame."""
MESSAGES_AT_ONCE, MESSAGES_SECONDS = 16, 0.01
"""Messages of a client that are received or sent in one turn of the event loop, and the least
seconds until the next turn: a client that sends more is read more slowly."""
DATA = (WSMsgType.BINARY, WSMsgType.TEXT)


class ClientGone(Exception):  # noqa: N818
    """The client has left, or reads nothing."""


class WebSocket:
    """The websocket of one client, which speaks one of `protocols` if it asks for any. `caller` is
    whom its requests are counted for. Until it is opened, the client may be refused by a status."""

    def __init__(self, request: web.Request, caller: str, protocols: Sequence[str] = ()) -> None:
        context = request.app[CONTEXT]
        limits = context.limits
        self.caller = caller
        self.is_open = False
        self._ws = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=limits.message,
            protocols=protocols,
        )
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._pings: asyncio.Task[None] | None = None
        self._sent = 0.0
        self._take_turn = context.take_turn
        self._handled, self._next_turn = 0, 0.0
        self.on_quiet: bytes | None = None
        """Sent besides a ping when the client got nothing for a while."""

    async def open(self) -> None:
        """Accept the client, unless that was done."""
        if self.is_open:
            return
        await self._ws.prepare(self._request)
        self.is_open = True
        self._sent = self._loop.time()
        self._pings = asyncio.create_task(self._ping())
        log("client came", path=self._request.path, caller=self.caller)

    def header(self, name: str) -> str:
        """Return a header of the request, empty if it has none."""
        return self._request.headers.get(name, "")

    @property
    def response(self) -> web.WebSocketResponse:
        """The response that the handler of the request returns."""
        return self._ws

    async def receive(self, is_busy: Callable[[], bool]) -> bytes | str | None:
        """Return the next message; None once the client has left, or is silent while the session is
        not busy."""
        while True:
            await self._handle_one()
            try:
                async with client_timeout(self._limits.silence):
                    message = await self._ws.receive()
            except TimeoutError:
                if is_busy():
                    continue
                self.drop()
                return None
            if message.type in DATA:
                data: bytes | str = message.data
                return data
            if message.type is WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is not WSMsgType.PONG:
                return None

    async def _handle_one(self) -> None:
        """After some messages wait for a turn: messages that have arrived, or can be sent, wait for
        nothing else."""
        self._handled += 1
        if self._handled > MESSAGES_AT_ONCE:
            if (early := self._next_turn - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._take_turn()
            self._handled, self._next_turn = 1, self._loop.time() + MESSAGES_SECONDS

    async def _pong(self, data: bytes) -> None:
        """Answer a ping, unless the client reads nothing for too long."""
        try:
            async with client_timeout(self._limits.stall):
                await self._ws.pong(data)
        except TimeoutError:
            self.drop()
        except ConnectionError:
            pass

    async def send(self, data: bytes | str) -> None:
        """Send a message, of bytes or text; raises ClientGone if the client has left, or reads
        nothing for long."""
        await self._handle_one()
        self._sent = self._loop.time()
        try:
            async with client_timeout(self._limits.stall):
                if isinstance(data, str):
                    await self._ws.send_str(data)
                else:
                    await self._ws.send_bytes(data)
        except TimeoutError:
            self.drop()
            raise ClientGone("takes nothing") from None
        except ConnectionError:
            raise ClientGone("left") from None

    async def finish(self, code: int | None = None, reason: str = "") -> None:
        """Close: without a code, as moshi-server does when all is well, or with a code and a
        reason. Nobody else may be receiving."""
        self._stop()
        said = reason.encode()[:LONGEST_REASON].decode(errors="ignore").encode()
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            if code is not None:
                await self._ws.close(code=code, message=said)
                return
            await self._ws.send_frame(b"", WSMsgType.CLOSE)
            async with asyncio.timeout(CLOSE_SECONDS):
                while (await self._ws.receive()).type in (*DATA, WSMsgType.PING, WSMsgType.PONG):
                    pass
        self._hang_up()

    async def agree(self) -> None:
        """Answer the client's close."""
        self._stop()
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            await self._ws.close(code=WSCloseCode.OK, drain=False)

    def drop(self) -> None:
        """Drop the client without closing the websocket."""
        self._stop()
        if self._request.transport is not None:
            self._request.transport.abort()

    def _stop(self) -> None:
        if self._pings is not None:
            self._pings.cancel()

    def _hang_up(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()

    async def _ping(self) -> None:
        """Ping the client whenever it got nothing for a while."""
        with contextlib.suppress(ConnectionError):
            while True:
                quiet = self._loop.time() - self._sent
                if quiet < PING_SECONDS:
                    await asyncio.sleep(PING_SECONDS - quiet)
                    continue
                self._sent = self._loop.time()
                await self._ws.ping()
                if self.on_quiet is not None:
                    await self._ws.send_bytes(self.on_quiet)


_Query = TypeVar("_Query")


def websocket_route(
    parse: Callable[[Context, Mapping[str, str]], _Query],
    serve: Callable[[Context, WebSocket, _Query], Awaitable[None]],
    protocols: Sequence[str] = (),
) -> Handler:
    """Return a handler that accepts clients with a valid query and a key, and serves each in a
    session, by one of the protocols if it asks for any. `serve` has to open the websocket: it is
    open already unless a client without a slot is refused by a status."""

    async def handle(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        check_upgrade(request)
        try:
            query = parse(context, request.query)
        except UnknownModel as error:
            raise web.HTTPNotFound(text=f"{error}\n") from None
        except (ProtocolError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        caller = admit(request, context, query=True)
        socket = WebSocket(request, caller, protocols)
        try:
            with context.sessions.session(caller), keeping_place(request):
                if context.config.when_full == "message":
                    await socket.open()
                try:
                    await serve(context, socket, query)
                except BaseException:
                    if socket.is_open:
                        socket.drop()
                    raise
                finally:
                    if socket.is_open:
                        log("client left", path=request.path, caller=caller)
        except TooManySessions as error:
            raise web.HTTPTooManyRequests(text=f"{error}\n") from None
        return socket.response

    return handle


def check_upgrade(request: web.Request) -> None:
    """Raise HTTPUpgradeRequired for a request without a websocket upgrade; an invalid upgrade is
    refused when it is accepted."""
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise web.HTTPUpgradeRequired(
            headers={"Upgrade": "websocket"}, text="connect with a websocket\n"
        )


TRY_AGAIN_LATER = WSCloseCode.TRY_AGAIN_LATER
CLOSING: dict[str, tuple[WSCloseCode, str]] = {
    "idle": (WSCloseCode.POLICY_VIOLATION, "no input for too long"),
    "too long": (WSCloseCode.POLICY_VIOLATION, "the session reached the longest duration"),
    "stalled": (WSCloseCode.POLICY_VIOLATION, "the client did not read for too long"),
    "shutdown": (WSCloseCode.GOING_AWAY, SHUTTING_DOWN),
    "failed": (WSCloseCode.INTERNAL_ERROR, "the session failed"),
}
"""The close code and reason for each end of a session but `done` and `busy`."""


class WebsocketHandler(Protocol):
    """What one protocol adds to a websocket session."""

    def receive(self, session: Session, message: bytes | str) -> Awaitable[None]:
        """Handle a message of the client; raises ProtocolError or UsageError for an invalid one."""

    def report(self, session: Session, event: SessionEvent) -> Iterable[bytes]:
        """Return the messages that report an event to the client."""

    def refuse(self) -> Sequence[bytes]:
        """Return the messages for a client without a slot, if the protocol has any."""


async def run_session(
    socket: WebSocket,
    handler: WebsocketHandler,
    served: ServedModel,
    *,
    wait: float,
    **given: Any,
) -> None:
    """Pass messages and events until the client leaves or the session ends, then close the
    websocket. The session of an open websocket waits for a slot for `wait` seconds; `given` are
    arguments of `ServedModel.join`. Raises Busy if there is no slot for one that is not open."""
    try:
        session = AsyncSession(served, wait=wait if socket.is_open else 0.0, **given)
    except Busy:
        if not socket.is_open:
            raise
        await refuse(socket, handler.refuse())
        return
    with session:
        await socket.open()
        await _exchange(socket, session, handler)


async def _exchange(socket: WebSocket, session: AsyncSession, handler: WebsocketHandler) -> None:
    try:
        ended = await _first(_receive(socket, session, handler), _report(socket, session, handler))
    except ClientGone as error:
        log("client gone", why=str(error))
        socket.drop()
    except Busy as error:
        log("client refused", why=str(error))
        await refuse(socket, handler.refuse())
    except (ProtocolError, UsageError) as error:
        log("client misunderstood", why=str(error))
        await socket.finish(WSCloseCode.INVALID_TEXT, str(error))
    else:
        await _close(socket, handler, ended)


async def refuse(socket: WebSocket, messages: Sequence[bytes]) -> None:
    """Refuse the client by these messages or, if there are none, by a close code."""
    try:
        for message in messages:
            await socket.send(message)
    except ClientGone:
        socket.drop()
        return
    if messages:
        await socket.finish()
    else:
        await socket.finish(TRY_AGAIN_LATER, NO_ROOM)


async def _first(*works: Coroutine[Any, Any, Any]) -> Any:
    """Return or raise what the first to end does, and cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    results = [task.result() for task in tasks if task in done]
    return results[0]


async def _receive(socket: WebSocket, session: AsyncSession, handler: WebsocketHandler) -> None:
    while (message := await socket.receive(lambda: session.is_busy)) is not None:
        await handler.receive(session, message)
        await session.room()


async def _report(socket: WebSocket, session: AsyncSession, handler: WebsocketHandler) -> Ended:
    while True:
        for event in await session.next_events():
            if isinstance(event, Ended) and event.reason == "busy":
                return event
            for message in handler.report(session, event):
                await socket.send(message)
            if isinstance(event, Ended):
                return event


async def _close(socket: WebSocket, handler: WebsocketHandler, ended: Ended | None) -> None:
    if ended is None:
        await socket.agree()
    elif ended.reason == "busy":
        await refuse(socket, handler.refuse())
    else:
        await end_session(socket, ended)


async def end_session(socket: WebSocket, ended: Ended) -> None:
    """Close a websocket, with the reason for which its session ended."""
    if ended.reason == "busy":
        await refuse(socket, ())
    elif ended.reason in CLOSING:
        code, reason = CLOSING[ended.reason]
        log("session ended", why=ended.reason)
        await socket.finish(code, ended.message or reason)
    else:
        await socket.finish()
