"""`/api/tts_streaming`: text to speech as moshi-server does it, by websocket and by POST."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from aiohttp import WSCloseCode, web

from ...models import events
from ...models.families import Task
from ...models.options import SpeechOptions
from ...models.text.normalizer import TextNormalizer
from ...models.tts.script_parser import ScriptParser
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..engine.events import Ended, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..voices import UnknownVoice
from ..web.context import CONTEXT, Context
from ..web.posts import StreamingResponse, Synthesis
from ..web.websocket_session import WebSocket, refuse, run_session
from ..wire import NO_ROOM, ProtocolError
from ..wire.messagepack import pack
from ..wire.ogg_opus import OpusEncoder
from ..wire.query import read_options
from ..wire.speech_encoders import WavEncoder
from . import messages

_LOUDEST = 0.99
_LONGEST_BREAK = 10.0
_MILLISECONDS = 1000.0


@dataclass(frozen=True)
class TtsQuery:
    """What a client asks for."""

    served: ServedModel
    format: messages.TtsFormat
    voice: str | None
    options: SpeechOptions


def parse_tts_query(path: str, context: Context, query: Mapping[str, str]) -> TtsQuery:
    """Raises UnknownModel, ProtocolError for a format that is none, ValueError for a number that
    is none; what else a query has is ignored."""
    served = context.registry.at(path, Task.TEXT_TO_SPEECH, query.get("model"))
    return TtsQuery(
        served,
        messages.format_named(query.get("format", messages.TtsFormat.OGG_OPUS)),
        query.get("voice") or None,
        served.options(**read_options(served.family.options, query)),
    )


class _Spelling:
    """A tokenizer for scripts of which only the words are used."""

    def encode(self, text: str) -> list[int]:  # noqa: ARG002
        return []

    def unk_id(self) -> int:
        return 0


class TtsAdapter:
    """One client's: its texts to what the stream is fed, the stream's events to the bytes of
    messages, in order."""

    def __init__(
        self,
        form: messages.TtsFormat,
        frame_rate: float,
        normalizer: TextNormalizer | None = None,
    ) -> None:
        self.format, self._frame_rate = form, frame_rate
        self._normalizer = normalizer
        self._encoder = OpusEncoder() if form.is_opus else None
        self._script = ScriptParser(_Spelling(), _MILLISECONDS, speakers=False, padding_between=0)
        self._asked: deque[tuple[str, float]] = deque()
        self._said = 0.0

    def start(self) -> list[bytes]:
        """Return the messages for a stream that got a slot."""
        header = [self._opus(self._encoder.header())] if self._encoder else []
        return [*self._messages(messages.ReadyMessage()), *header]

    def refuse(self) -> list[bytes]:
        """Return the messages for a client without a slot: none in the formats without messages."""
        return self._messages(messages.ErrorMessage(NO_ROOM))

    def read(self, text: str) -> str:
        """Return what the stream is fed for a message's text, nothing for a text without words.

        The end of a message ends a word; with a normalizer, words that may belong to figures wait
        for those that follow. Breaks are cut to ten seconds. Raises ProtocolError for one of more
        than a day, and for invalid SSML.
        """
        return self._script_of(f"{text} ", final=False)

    def flush(self) -> str:
        """Return what the stream is fed at the end of the text."""
        return self._script_of("", final=True)

    def _script_of(self, text: str, *, final: bool) -> str:
        try:
            if self._normalizer is not None:
                text = self._normalizer.feed(text) + (self._normalizer.flush() if final else "")
            joined = " ".join(text.replace("–", "").split())
            entries = [*self._script.feed(joined), *self._script.flush()]
        except UsageError as error:
            raise ProtocolError(str(error)) from error
        asked = [(entry.text, entry.padding / _MILLISECONDS) for entry in entries]
        asked = [(word, seconds) for word, seconds in asked if word or seconds]
        if self.format.has_messages:
            self._asked.extend(asked)
        return "".join(f"{word or self._break(seconds)} " for word, seconds in asked)

    def report(self, event: SessionEvent) -> list[bytes]:
        """Return the messages of an event, the last ones for the end of the stream."""
        match event:
            case Ended(reason="done"):
                return self.end()
            case events.Audio(pcm):
                return self._audio(pcm)
            case events.Word(text, start, end):
                timed = [*self._pauses(text, start), messages.TimedTextMessage(text, start, end)]
                self._said = end
                return self._messages(*timed)
        return []

    def end(self) -> list[bytes]:
        """Return the last messages, once the stream has ended."""
        rest = self._encoder.flush() if self._encoder else b""
        last = [self._opus(rest)] if rest else []
        return [*last, *self._messages(*self._pauses(None, None))]

    def _audio(self, pcm: Pcm) -> list[bytes]:
        clipped = np.clip(pcm, -_LOUDEST, _LOUDEST)
        if self._encoder:
            pages = self._encoder.push(clipped)
            return [self._opus(pages)] if pages else []
        if self.format.has_messages:
            return [pack(messages.AudioMessage(clipped))]
        return [clipped.astype("<f4").tobytes()]

    def _opus(self, pages: bytes) -> bytes:
        return pack(messages.OggOpusMessage(pages)) if self.format.has_messages else pages

    def _messages(self, *replies: messages.TtsReply) -> list[bytes]:
        return [pack(reply) for reply in replies if self.format.has_messages]

    def _pauses(self, word: str | None, until: float | None) -> list[messages.TimedTextMessage]:
        """Return the breaks before a word, or all the remaining ones, with their times: the last
        one ends at that word."""
        pauses = []
        while self._asked:
            text, seconds = self._asked.popleft()
            if text and text == word:
                break
            if not text:
                pauses.append(seconds)
        times = [self._said]
        for seconds in pauses:
            times.append(times[-1] + seconds)
        if until is not None:
            times = [*(min(time, until) for time in times[:-1]), until]
        return [
            messages.TimedTextMessage(f'<break time="{seconds:.2f}s">', start, stop)
            for seconds, start, stop in zip(pauses, times, times[1:], strict=False)
        ]

    def _break(self, seconds: float) -> str:
        """Return a break as the model keeps it: whole frames, rounded down, at least one."""
        frames = max(1, int(min(seconds, _LONGEST_BREAK) * self._frame_rate))
        return f'<break time="{frames / self._frame_rate:.3f}s"/>'


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
                if fed := await self.context.convert(len(text), self.adapter.read, text):
                    self._said = True
                    session.feed(fed)
            case messages.VoiceMessage() as voice:
                await self._take_voice(session, voice)
            case messages.EosMessage():
                if fed := self.adapter.flush():
                    session.feed(fed)
                session.end()

    def report(self, session: Session, event: SessionEvent) -> list[bytes]:  # noqa: ARG002
        if isinstance(event, Ready):
            begun, self._begun = self._begun, True
            return [] if begun else self.adapter.start()
        return self.adapter.report(event)

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
    options, normalizer = query.options, None
    if options.text_form == "written":
        tokenizer = served.model.tokenizer
        normalizer = TextNormalizer(language=options.language, spelling=tokenizer)
        options = replace(options, text_form="as-is")
    adapter = TtsAdapter(query.format, served.model.frame_rate, normalizer)
    try:
        speaker = await context.work(served.voices.prepare, query.voice, query.options.cfg_coef)
    except (UnknownVoice, UsageError) as error:
        await _send_fault(socket, query.format, str(error))
        return
    handler, wait = TtsHandler(context, query, adapter), context.limits.stream_wait
    await run_session(socket, handler, served, wait=wait, voice=speaker, options=options)


async def _send_fault(socket: WebSocket, form: messages.TtsFormat, message: str) -> None:
    await socket.open()
    if form.has_messages:
        await refuse(socket, [pack(messages.ErrorMessage(message))])
    else:
        await socket.finish(WSCloseCode.POLICY_VIOLATION, message)


async def post_tts(request: web.Request) -> web.StreamResponse:
    """A text, spoken as a wav that comes as it is made."""
    context = request.app[CONTEXT]
    served = context.registry.at(request.path, Task.TEXT_TO_SPEECH, request.query.get("model"))
    content = await context.receive_object(request)
    try:
        asked = msgspec.convert(content, messages.SpokenText)
    except msgspec.ValidationError:
        wanted = "text and voice: two strings are wanted\n"
        raise web.HTTPUnprocessableEntity(text=wanted) from None
    text, voice = asked.text, asked.voice
    if len(text) > context.limits.characters:
        raise UsageError(f"a text of {len(text)} characters: at most {context.limits.characters}")
    encoder = WavEncoder(served.model.sample_rate)
    async with StreamingResponse(request, "audio/wav") as answer:
        async for event in Synthesis(context, served, text, voice or None).events():
            if isinstance(event, events.Audio):
                await answer.write(encoder.push(event.pcm))
        await answer.finish(encoder.end())
    return answer.response
