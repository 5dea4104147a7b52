"""How the server is: for those who watch it, not for clients."""

from aiohttp import web

from ...models.families import Task
from ..registry import ServedModel
from .build import build_info, package_version
from .context import CONTEXT

TYPES = {
    Task.SPEECH_TO_TEXT: "batched_asr",
    Task.TEXT_TO_SPEECH: "py",
    Task.SPEECH_TO_SPEECH: "lm",
}
"""What moshi-server calls a model of each task."""


async def health(request: web.Request) -> web.Response:
    """That the process answers, and what it is."""
    alive = request.app[CONTEXT].is_alive
    told = {"status": "healthy" if alive else "failed", "version": package_version()}
    return web.json_response(told, status=200 if alive else 500)


async def ready(request: web.Request) -> web.Response:
    """Whether it takes sessions, and how many of them run."""
    context = request.app[CONTEXT]
    models = [
        {
            "model": served.name,
            "used": served.engine.used,
            "slots": served.engine.slots,
            "queued": served.engine.queued,
        }
        for served in context.registry.all
    ]
    told = {"status": "ready" if context.is_ready else "stopping", "models": models}
    return web.json_response(told, status=200 if context.is_ready else 503)


async def build(_: web.Request) -> web.Response:
    """moshi-server's `/api/build_info`."""
    return web.json_response(build_info())


async def modules(request: web.Request) -> web.Response:
    """moshi-server's `/api/modules_info`: all of it strings."""
    return web.json_response([_module(served) for served in request.app[CONTEXT].registry.all])


def _module(served: ServedModel) -> dict[str, str]:
    name = served.name
    told = {"type": TYPES[served.family.task], "path": served.path}
    told |= (
        {"script": name}
        if served.family.task is Task.TEXT_TO_SPEECH
        else {"lm": name, "audio_tokenizer": name}
    )
    slots = {"used_slots": str(served.engine.used), "total_slots": str(served.engine.slots)}
    return told | slots
