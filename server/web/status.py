"""What the server reports of itself: health, readiness, build, modules and voices."""

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from ...models.families import Task
from ..registry import ServedModel
from .context import CONTEXT

PACKAGE = "kyutai-onnx"
UNKNOWN = "unknown"
MODULE_TYPES = {
    Task.SPEECH_TO_TEXT: "batched_asr",
    Task.TEXT_TO_SPEECH: "py",
    Task.SPEECH_TO_SPEECH: "lm",
}
"""The type that moshi-server gives a model of each task."""


@functools.cache
def package_version() -> str:
    """Return the version of the installed package."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return UNKNOWN


def build_info() -> dict[str, str]:
    """Return the strings of moshi-server's `/api/build_info`; a package in Python has few of
    them."""
    system = f"{platform.machine()}-{platform.system()}".lower()
    return {
        "build_timestamp": UNKNOWN,
        "build_date": UNKNOWN,
        "git_branch": UNKNOWN,
        "git_timestamp": UNKNOWN,
        "git_date": UNKNOWN,
        "git_hash": UNKNOWN,
        "git_describe": f"{PACKAGE} {package_version()}",
        "rustc_host_triple": system,
        "rustc_version": f"none; Python {platform.python_version()}",
        "cargo_target_triple": system,
    }


async def health(request: web.Request) -> web.Response:
    """Report whether the engines run, and the version."""
    alive = request.app[CONTEXT].is_alive
    report = {"status": "healthy" if alive else "failed", "version": package_version()}
    return web.json_response(report, status=200 if alive else 500)


async def ready(request: web.Request) -> web.Response:
    """Report whether the server takes sessions, how many run, and how many more it would take."""
    context = request.app[CONTEXT]
    models = [
        {
            "model": served.name,
            "used": served.engine.used,
            "free": context.free(served),
            "slots": served.engine.slots,
            "queued": served.engine.queued,
        }
        for served in context.registry.all
    ]
    report = {
        "status": "ready" if context.is_ready else "stopping",
        "instance": context.config.instance_name,
        "sessions": context.sessions.running,
        "models": models,
    }
    return web.json_response(report, status=200 if context.is_ready else 503)


async def build(_: web.Request) -> web.Response:
    """Answer moshi-server's `/api/build_info`."""
    return web.json_response(build_info())


async def modules(request: web.Request) -> web.Response:
    """Answer moshi-server's `/api/modules_info`, in which all values are strings."""
    return web.json_response([_module(served) for served in request.app[CONTEXT].registry.all])


def _module(served: ServedModel) -> dict[str, str]:
    name = served.name
    report = {"type": MODULE_TYPES[served.family.task], "path": served.path}
    report |= (
        {"script": name}
        if served.family.task is Task.TEXT_TO_SPEECH
        else {"lm": name, "audio_tokenizer": name}
    )
    slots = {"used_slots": str(served.engine.used), "total_slots": str(served.engine.slots)}
    return report | slots


async def voices(request: web.Request) -> web.Response:
    """List the voices of a model that speaks texts, with the default one, and where each is."""
    context = request.app[CONTEXT]
    served = context.registry.find(Task.TEXT_TO_SPEECH, request.query.get("model"))
    voices = served.voices
    listed = await context.work(voices.names)
    return web.json_response(
        {
            "model": served.name,
            "default": voices.default,
            "voices": [{"name": voice.name, "place": voice.place} for voice in listed],
        }
    )
