"""`/api/voices`: what may be asked for as a voice."""

from aiohttp import web

from ...models.families import Task
from .context import CONTEXT
from .synthesis import speakers_of


async def voices(request: web.Request) -> web.Response:
    """The voices of a model that speaks texts, the default one, and where each is."""
    context = request.app[CONTEXT]
    served = context.registry.find(Task.TEXT_TO_SPEECH, request.query.get("model"))
    speakers = speakers_of(served)
    listed = await context.work(speakers.names)
    return web.json_response(
        {
            "model": served.name,
            "default": speakers.default,
            "voices": [{"name": voice.name, "place": voice.place} for voice in listed],
        }
    )
