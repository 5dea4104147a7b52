"""`/api/asr-streaming`: speech to text as moshi-server does it, by websocket and by POST."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from ...models import events
from ...models.families import Task
from ...models.options import SpeechToTextOptions
from ..decoding import OpusStream
from ..engine.events import Ended, Marked, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..web.context import CONTEXT, Context
from ..web.posts import Transcription
from ..web.websocket_session import WebSocket, run_session
from ..wire import NO_ROOM
from ..wire.messagepack import pack
from ..wire.query import read_options
from . import messages


@dataclass(frozen=True)
class SttQuery:
    """What a client asks for. `exact` is ours alone: the model's own silence comes before the
    audio, and closed words have the text and times of `transcribe`."""

    served: ServedModel
    exact: bool
    options: SpeechToTextOptions


def parse_stt_query(path: str, context: Context, query: Mapping[str, str]) -> SttQuery:
    """Raises UnknownModel, ValueError for a number that is none; what else a query has is
    ignored."""
    served = context.registry.at(path, Task.SPEECH_TO_TEXT, query.get("model"))
    exact, asked = query.get("exact") == "true", read_options(served.family.options, query)
    return SttQuery(served, exact, served.options(lead=exact, **asked))


class SttAdapter:
    """One client's: a live stream's events to messages, in order. With `exact`, closed words are
    sent with their final text, which only our own client expects."""

    _open: int
    _closing: bool

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._begin_words()

    def start(self) -> messages.SttReply:
        """Return the message for a stream that got a slot or was reset."""
        self._begin_words()
        return messages.ReadyMessage()

    def refuse(self) -> messages.SttReply:
        """Return the message for a client without a slot."""
        return messages.ErrorMessage(NO_ROOM)

    def report(self, event: events.Event, buffered: int = 0) -> list[messages.SttReply]:
        """Return the messages of an event; `buffered` samples wait for the model.

        A word is sent as soon as it is found, and its end at the boundary that closes it: there the
        text since the last boundary may be split into other words, which end as one. Without extra
        heads no steps are sent: clients take any value in one for a pause.
        """
        match event:
            case events.Step(index, pauses) if pauses:
                return [messages.StepMessage(index, pauses, buffered)]
            case events.WordStarted(text, start):
                if self._closing:
                    self._begin_words()
                self._open += _letters(text)
                return [messages.WordMessage(text, start)]
            case events.Word(text, start, end) if self._exact:
                return [messages.WholeWordMessage(text, start, end)]
            case events.Word(text, _, end):
                self._closing = True
                self._open -= _letters(text)
                return [messages.EndWordMessage(end)] if self._open <= 0 else []
        return []

    def _begin_words(self) -> None:
        """Count letters from 0, as at a boundary."""
        self._open, self._closing = 0, False


def _letters(text: str) -> int:
    return len("".join(text.split()))


class SttHandler:
    """A client of the websocket."""

    def __init__(self, context: Context, query: SttQuery, opus: OpusStream) -> None:
        self._context, self._opus = context, opus
        self._rate = query.served.model.sample_rate
        self._adapter = SttAdapter(exact=query.exact)

    async def receive(self, session: Session, message: bytes | str) -> None:
        """A message; text is ignored."""
        if isinstance(message, str):
            return
        match await self._context.parse(messages.parse_stt_request, message):
            case messages.AudioMessage(pcm):
                await self._context.feed(session, pcm)
            case messages.OggOpusMessage(data):
                await self._context.feed(session, await self._opus.push(data))
            case messages.MarkerMessage(id):
                session.mark(id)
            case messages.EosMessage():
                session.end()
            case messages.InitMessage():
                session.reset()

    def report(self, session: Session, event: SessionEvent) -> list[bytes]:
        match event:
            case Ready():
                replies: list[messages.SttReply] = [self._adapter.start()]
            case Marked(id):
                replies = [messages.MarkerMessage(id)]
            case Ended():
                replies = []
            case _:
                buffered = round(session.backlog * self._rate)
                replies = self._adapter.report(event, buffered)
        return [pack(reply) for reply in replies]

    def refuse(self) -> list[bytes]:
        return [pack(self._adapter.refuse())]


async def serve_stt(context: Context, socket: WebSocket, query: SttQuery) -> None:
    """One client of the websocket."""
    served = query.served
    with OpusStream(context.decoders) as opus:
        handler = SttHandler(context, query, opus)
        wait = context.limits.stream_wait
        await run_session(socket, handler, served, wait=wait, options=query.options)


async def post_stt(request: web.Request) -> web.Response:
    """A whole recording: its words and their ends, in order."""
    context = request.app[CONTEXT]
    served = context.registry.at(request.path, Task.SPEECH_TO_TEXT, request.query.get("model"))
    adapter, replies = SttAdapter(), list[messages.SttReply]()
    async with context.uploads.body(request) as body, context.uploads.room():
        transcription = Transcription(context, served, body)
        async for event in transcription.events():
            replies += adapter.report(event)
    kinds = (messages.WordMessage, messages.EndWordMessage)
    return web.json_response([reply.fields for reply in replies if isinstance(reply, kinds)])
