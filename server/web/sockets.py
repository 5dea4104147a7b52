"""Websockets: what is checked before one is accepted, in moshi-server's order."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp import web

from ..protocols.errors import ProtocolError
from ..served import UnknownModel
from .context import CONTEXT, Context
from .guard import Handler, admit, keeping_place
from .keys import TooManySessions
from .logs import log
from .socket import Socket

Query = TypeVar("Query")


def socket_route(
    parse: Callable[[Context, Mapping[str, str]], Query],
    serve: Callable[[Context, Socket, Query], Awaitable[None]],
    message: int | None = None,
) -> Handler:
    """A handler that accepts clients whose query can be parsed and who have a key, and serves each
    in a session of its own. `message` is the most bytes of a message, if less than elsewhere."""

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
        limits = context.limits
        largest = min(limits.message, message or limits.message)
        socket = Socket(limits, largest, context.take_turn)
        try:
            with context.sessions.session(caller), keeping_place(request):
                await socket.open(request)
                log("client came", path=request.path, caller=caller)
                try:
                    await serve(context, socket, query)
                except BaseException:
                    socket.drop()
                    raise
                finally:
                    log("client left", path=request.path, caller=caller)
        except TooManySessions:
            raise web.HTTPTooManyRequests(text="as many sessions of yours run as may\n") from None
        return socket.response

    return handle


def check_upgrade(request: web.Request) -> None:
    """Raises HTTPUpgradeRequired for a request that wants no websocket; a broken wish for one is
    refused when it is accepted."""
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise web.HTTPUpgradeRequired(
            headers={"Upgrade": "websocket"}, text="a websocket is expected here\n"
        )
