"""`/api/asr-streaming`: speech to text as moshi-server does it, by websocket and by POST."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ...models.families import Task
from ..decoding import OpusStream
from ..engine.events import Ended, Marked, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..web.context import CONTEXT, Context
from ..web.query_params import number, whole
from ..web.transcription import Transcription
from ..web.uploads import read_body, room_for_recording
from ..web.websocket_session import WebSocket, run_session
from . import stt_messages as listening
from .stt_adapter import SttAdapter


@dataclass(frozen=True)
class Query:
    """What a client asks for. `exact` is of ours alone: the model's own silence comes before the
    audio, and words are told as `transcribe` has them, once they are closed. `given` are arguments
    of `ServedModel.join`."""

    served: ServedModel
    exact: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


def parse_query(path: str, context: Context, query: Mapping[str, str]) -> Query:
    """Raises UnknownModel, ValueError for a number that is none; what else a query has is
    ignored."""
    served = context.registry.at(path, Task.SPEECH_TO_TEXT, query.get("model"))
    given = {"temperature": number(query, "temperature"), "seed": whole(query, "seed")}
    return Query(served, query.get("exact") == "true", given)


class SttHandler:
    """A client of the websocket."""

    def __init__(self, context: Context, query: Query, opus: OpusStream) -> None:
        self._context, self._opus = context, opus
        self._rate = query.served.model.sample_rate
        self._rules = SttAdapter(exact=query.exact)

    async def receive(self, session: Session, message: bytes | str) -> None:
        """A message; text is ignored."""
        if isinstance(message, str):
            return
        match await self._context.parse(listening.parse, message):
            case listening.Audio(pcm):
                await self._context.feed(session, pcm)
            case listening.OggOpus(data):
                await self._context.feed(session, await self._opus.push(data))
            case listening.Marker(id):
                session.mark(id)
            case listening.Eos():
                session.end()
            case listening.Init():
                session.reset()

    def report(self, session: Session, told: SessionEvent) -> list[bytes]:
        match told:
            case Ready():
                replies: list[listening.Reply] = [self._rules.begin()]
            case Marked(id):
                replies = [listening.Marker(id)]
            case Ended():
                replies = []
            case _:
                buffered = round(session.backlog * self._rate)
                replies = self._rules.tell(told, buffered)
        return [listening.pack(reply) for reply in replies]

    def refuse(self) -> list[bytes]:
        return [listening.pack(self._rules.refuse())]


async def serve(context: Context, socket: WebSocket, query: Query) -> None:
    """One client of the websocket."""
    served = query.served
    with OpusStream(context.decoders) as opus:
        talk = SttHandler(context, query, opus)
        wait = context.limits.stream_wait
        await run_session(socket, talk, served, wait=wait, lead=query.exact, **query.given)


async def post(request: web.Request) -> web.Response:
    """A whole recording: its words and their ends, in order."""
    context = request.app[CONTEXT]
    served = context.registry.at(request.path, Task.SPEECH_TO_TEXT, request.query.get("model"))
    rules, told = SttAdapter(), list[listening.Reply]()
    async with read_body(request, context) as body, room_for_recording(context):
        heard = Transcription(context, served, body)
        async for event in heard.events():
            told += rules.tell(event)
    kinds = (listening.Word, listening.EndWord)
    return web.json_response(listening.as_json(said for said in told if isinstance(said, kinds)))
