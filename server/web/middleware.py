"""What runs before every handler: checks of sites, keys and rates; and what turns errors into
answers."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from aiohttp import web

from ...runtime.errors import AudioError, KyutaiOnnxError, UsageError
from ..engine.events import INTERNAL_ERROR, Busy
from ..openai import messages as openai
from ..registry import UnknownModel
from ..wire import ProtocolError
from .async_session import SessionEnded
from .auth import caller_of, shown_key
from .connections import LimitedConnection
from .context import CONTEXT, Context
from .logs import LOG, ThrottledLog, log
from .session_counts import TooManySessions
from .uploads import NoSpaceError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RETRY_SECONDS = "1"
PROBES = ("/health", "/ready", "/metrics")
"""Requests that monitor the server: answered under any host name and beyond the connection
limit."""
INSTANCE = "Kyutai-Instance"
"""The header with the name of the server."""
SAFE = {
    "Server": "kyutai-onnx",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KEPT = ("Allow", "Retry-After")
"""Headers of an error that aiohttp raises."""

GONE = 499
"""The client has left: nobody reads this status."""
ENDED = {"shutdown": 503, "too long": 413, "stalled": 408, "idle": 408}
"""The status for each reason for which a session may end. `failed` is 400, unless the error is
internal."""


@web.middleware
async def check_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse pages of other sites, answer CORS preflights, and turn errors into answers."""
    context = request.app[CONTEXT]
    connection, probes = LimitedConnection.of(request.transport), request.path in PROBES
    if connection is not None:
        connection.ask()
        if connection.spare and not probes:
            return answer(request, 503, "too many connections")
    if not probes:
        await context.take_turn()
    origin = request.headers.get("Origin")
    reason = context.origins.refuses(request.headers, any_name=probes)
    if reason is not None:
        log("request refused", path=request.path, why=reason)
        return answer(request, 403, reason)
    if request.method == "OPTIONS" and origin is not None:
        return web.Response(status=204, headers=context.origins.preflight(origin))
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/v1/") or error.status < 400:
            raise
        refused = answer(request, error.status, (error.text or error.reason).strip())
        refused.headers.update(
            {name: error.headers[name] for name in KEPT if name in error.headers}
        )
        return refused
    except Exception as error:
        return error_answer(request, error)


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of CORS, of safety and with the server's name; close a spare connection after
    one answer, and any connection of a server that stops."""
    context = request.app[CONTEXT]
    response.headers.update(context.origins.headers(request.headers.get("Origin")))
    response.headers.update(SAFE)
    response.headers[INSTANCE] = context.config.instance_name
    connection = LimitedConnection.of(request.transport)
    if context.sessions.is_shut or (connection is not None and connection.spare):
        response.force_close()
        response.headers["Connection"] = "close"


def admit(request: web.Request, context: Context, *, query: bool) -> str:
    """Check the key and the rate of a request, and return its caller; raises HTTPUnauthorized or
    HTTPTooManyRequests.

    With `query` a key may be in the query, for browsers, which cannot set a header.
    """
    values = request.query if query else None
    right = context.keys.admits(request.headers, values)
    key = shown_key(request.headers, values) if context.keys else None
    caller, address = caller_of(key, request.remote), request.remote or "unknown"
    if key is not None and not context.wrong_keys.admits(address, caller, right=right):
        _TRIES.log(path=request.path, address=address)
        raise _too_many("too many wrong keys from this address: try again in a minute\n")
    if not right:
        log("key refused", path=request.path, address=address)
        raise web.HTTPUnauthorized(text="")
    if not context.rate.admits(caller):
        log("rate exceeded", path=request.path, caller=caller)
        raise _too_many("too many requests a minute\n")
    return caller


_TRIES = ThrottledLog("too many wrong keys")


def _too_many(text: str) -> web.HTTPTooManyRequests:
    return web.HTTPTooManyRequests(text=text, headers={"Retry-After": RETRY_SECONDS})


def keyed(handler: Handler, *, session: bool = True) -> Handler:
    """Wrap a handler so that it needs a key; while it runs, a `session` of the caller is
    counted."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        try:
            caller = admit(request, context, query=request.method == "GET")
        except web.HTTPException as error:
            return answer(request, error.status, (error.text or "").strip() or error.reason)
        if not session:
            return await handler(request)
        with context.sessions.session(caller), keeping_place(request):
            return await handler(request)

    return guarded


def keeping_place(request: web.Request) -> AbstractContextManager[None]:
    """Keep the connection of a request while a session of it runs."""
    connection = LimitedConnection.of(request.transport)
    return connection.session() if connection is not None else nullcontext()


def error_answer(request: web.Request, error: Exception) -> web.Response:
    """Return the answer to an error. An unexpected error is logged, and its text is not sent."""
    param = getattr(error, "param", None)
    if isinstance(error, TooManySessions):
        return answer(request, 429, str(error))
    if isinstance(error, Busy):
        return answer(request, 503, str(error))
    if isinstance(error, SessionEnded):
        status = 500 if error.ended.is_internal else ENDED.get(error.ended.reason, 400)
        return answer(request, status, str(error))
    if isinstance(error, UnknownModel):
        return answer(request, 404, str(error), param="model")
    if isinstance(error, UsageError | AudioError | ProtocolError):
        return answer(request, 400, str(error), param=param)
    if isinstance(error, NoSpaceError):
        log("request failed", path=request.path, why=str(error))
        return answer(request, 507, str(error))
    if isinstance(error, KyutaiOnnxError):
        log("request failed", path=request.path, why=str(error))
        return answer(request, 502, str(error))
    if isinstance(error, ConnectionError):
        log("client gone", path=request.path, why=str(error) or "left")
        return web.Response(status=GONE)
    LOG.error("request failed", exc_info=error)
    return answer(request, 500, INTERNAL_ERROR)


def answer(
    request: web.Request,
    status: int,
    message: str,
    *,
    param: str | None = None,
) -> web.Response:
    """Answer with a line of text, or with JSON for OpenAI's clients. Without a key the answer is
    empty, as moshi-server's is."""
    headers = {"Retry-After": RETRY_SECONDS} if status in (429, 503) else {}
    if request.path.startswith("/v1/"):
        codes = {(401, None): "invalid_api_key", (404, "model"): "model_not_found"}
        code = codes.get((status, param))
        body = json.dumps(openai.error(message, _kind(status), param=param, code=code))
        return web.Response(
            status=status, text=body, content_type="application/json", headers=headers
        )
    text = "" if status == 401 else f"{message}\n"
    return web.Response(status=status, text=text, headers=headers)


def _kind(status: int) -> str:
    """Return the type that OpenAI gives an error."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
