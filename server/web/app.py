"""The application: every path, and the handler of each."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ...models.families import SERVED, Task
from ..config import ServerConfig
from ..moshi_server import chat_handler, stt_handler, tts_handler
from ..openai import handler as openai
from ..registry import ModelRegistry
from . import status
from .connections import ConnectionLimiter
from .context import CONTEXT, Context
from .metrics import Metrics
from .middleware import Handler, check_request, keyed, set_headers
from .pages import Pages
from .websocket_session import WebSocket, websocket_route

Parse = Callable[[str, Context, Mapping[str, str]], Any]
Serve = Callable[[Context, WebSocket, Any], Awaitable[None]]
SOCKETS: Mapping[Task, tuple[Parse, Serve]] = {
    Task.SPEECH_TO_TEXT: (stt_handler.parse_stt_query, stt_handler.serve_stt),
    Task.TEXT_TO_SPEECH: (tts_handler.parse_tts_query, tts_handler.serve_tts),
    Task.SPEECH_TO_SPEECH: (chat_handler.parse_chat_query, chat_handler.serve_chat),
}
POSTS: Mapping[Task, Handler] = {
    Task.SPEECH_TO_TEXT: stt_handler.post_stt,
    Task.TEXT_TO_SPEECH: tts_handler.post_tts,
}


def make_app(
    config: ServerConfig, registry: ModelRegistry, limiter: ConnectionLimiter
) -> web.Application:
    """Make the application of a server, on its event loop."""
    app = web.Application(middlewares=[check_request], client_max_size=config.limits.body)
    context = app[CONTEXT] = Context(config, registry, limiter)
    app.on_response_prepare.append(set_headers)
    app.on_cleanup.append(_close)
    for task, path in _sockets(registry):
        parse, serve = SOCKETS[task]
        handler = websocket_route(functools.partial(parse, path), serve)
        app.router.add_get(path, handler, allow_head=False)
        if task in POSTS:
            app.router.add_post(path, keyed(POSTS[task]))
    app.router.add_post("/v1/audio/transcriptions", keyed(openai.transcriptions_post))
    app.router.add_post("/v1/audio/speech", keyed(openai.speech_post))
    app.router.add_get("/v1/models", keyed(openai.models, session=False))
    app.router.add_get("/api/voices", keyed(status.voices, session=False))
    app.router.add_get("/health", status.health)
    app.router.add_get("/ready", status.ready)
    app.router.add_get("/metrics", Metrics(registry).show)
    app.router.add_get("/api/build_info", status.build)
    app.router.add_get("/api/modules_info", status.modules)
    app.router.add_get("/{name:.*}", Pages(context.config.static).show)
    return app


def _sockets(registry: ModelRegistry) -> list[tuple[Task, str]]:
    """Return each websocket path once, with its task."""
    paths = {family.socket: family.task for family in SERVED.values() if family.socket}
    for served in registry.all:
        if served.config.path is not None:
            paths[served.config.path] = served.family.task
    return [(task, path) for path, task in paths.items()]


async def _close(app: web.Application) -> None:
    await app[CONTEXT].close()
