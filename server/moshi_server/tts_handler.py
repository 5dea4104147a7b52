"""`/api/tts_streaming`: text to speech as moshi-server does it, by websocket and by POST."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, web

from ...models.events import Audio
from ...models.families import Task
from ...models.tts.speech_options import SpeechOptions
from ...runtime.errors import UsageError
from ..engine.events import Ended, Ready, SessionEvent
from ..engine.session import Session
from ..openai.speech import WavEncoder
from ..registry import ServedModel
from ..voices import UnknownVoice
from ..web.context import CONTEXT, Context
from ..web.query_params import number, whole
from ..web.streaming_response import StreamingResponse
from ..web.synthesis import Synthesis
from ..web.websocket_session import WebSocket, refuse, run_session
from ..wire.errors import ProtocolError
from ..wire.messagepack import pack
from . import messages
from .messages import TtsFormat, format_named
from .tts_adapter import TtsAdapter

NUMBERS = ("temperature", "cfg_coef", "padding_bonus")
COUNTS = ("seed", "top_k", "padding_between")
"""What a client may choose of `SpeechOptions` by its query, where moshi-server's own script has
one for all."""


@dataclass(frozen=True)
class TtsQuery:
    """What a client asks for."""

    served: ServedModel
    format: TtsFormat
    voice: str | None
    options: SpeechOptions


def parse_tts_query(path: str, context: Context, query: Mapping[str, str]) -> TtsQuery:
    """Raises UnknownModel, ProtocolError for a format that is none, ValueError for a number that
    is none; what else a query has is ignored."""
    served = context.registry.at(path, Task.TEXT_TO_SPEECH, query.get("model"))
    given: dict[str, Any] = {name: number(query, name) for name in NUMBERS}
    given |= {name: whole(query, name) for name in COUNTS}
    return TtsQuery(
        served,
        format_named(query.get("format", TtsFormat.OGG_OPUS)),
        query.get("voice") or None,
        served.speech_options(
            **{name: value for name, value in given.items() if value is not None}
        ),
    )


@dataclass
class TtsHandler:
    """A client of the websocket."""

    context: Context
    query: TtsQuery
    adapter: TtsAdapter
    _begun: bool = field(default=False, init=False)
    _said: bool = field(default=False, init=False)

    async def receive(self, session: Session, message: bytes | str) -> None:
        """A message."""
        parse = messages.parse_tts_request
        match await self.context.convert(len(message), parse, message):
            case messages.TextMessage(text):
                if fed := self.adapter.read(text):
                    self._said = True
                    session.feed(fed)
            case messages.VoiceMessage() as voice:
                await self._take_voice(session, voice)
            case messages.EosMessage():
                session.end()

    def report(self, session: Session, event: SessionEvent) -> list[bytes]:  # noqa: ARG002
        match event:
            case Ready():
                begun, self._begun = self._begun, True
                return [] if begun else self.adapter.start()
            case Ended(reason="done"):
                return self.adapter.end()
            case Ended():
                return []
        return self.adapter.report(event)  # type: ignore[arg-type]

    def refuse(self) -> list[bytes]:
        return self.adapter.refuse()

    async def _take_voice(self, session: Session, voice: messages.VoiceMessage) -> None:
        if self._said:
            raise ProtocolError("a voice after the first text: send it before")
        voices, options = self.query.served.voices, self.query.options
        speaker = await self.context.work(voices.from_embedding, voice.embeddings, options.cfg_coef)
        session.reset(lambda row: row.task.set_voice(speaker))


async def serve_tts(context: Context, socket: WebSocket, query: TtsQuery) -> None:
    """One client of the websocket."""
    served = query.served
    adapter = TtsAdapter(query.format, served.model.frame_rate)
    try:
        speaker = await context.work(served.voices.prepare, query.voice, query.options.cfg_coef)
    except (UnknownVoice, UsageError) as error:
        await _tell_fault(socket, query.format, str(error))
        return
    handler, wait = TtsHandler(context, query, adapter), context.limits.stream_wait
    await run_session(socket, handler, served, wait=wait, voice=speaker, options=query.options)


async def _tell_fault(socket: WebSocket, form: TtsFormat, message: str) -> None:
    if form.has_messages:
        await refuse(socket, [pack(messages.ErrorMessage(message))])
    else:
        await socket.finish(WSCloseCode.POLICY_VIOLATION, message)


async def post_tts(request: web.Request) -> web.StreamResponse:
    """A text, spoken as a wav that comes as it is made."""
    context = request.app[CONTEXT]
    served = context.registry.at(request.path, Task.TEXT_TO_SPEECH, request.query.get("model"))
    content = await context.receive_object(request)
    text, voice = content.get("text"), content.get("voice")
    if not isinstance(text, str) or not isinstance(voice, str):
        raise web.HTTPUnprocessableEntity(text="text and voice: two strings are wanted\n")
    if len(text) > context.limits.characters:
        raise UsageError(f"a text of {len(text)} characters: at most {context.limits.characters}")
    encoder, answer = WavEncoder(served.model.sample_rate), StreamingResponse(request, "audio/wav")
    async for event in Synthesis(context, served, text, voice or None).events():
        if isinstance(event, Audio):
            await answer.write(encoder.push(event.pcm))
    return await answer.finish(encoder.finish())
