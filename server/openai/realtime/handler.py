"""A client of `/v1/realtime`: its audio is transcribed, its texts are spoken as they are."""

import asyncio
import json
import math
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from ....models.events import Audio, Word
from ....models.families import Task
from ....models.options import HEAD
from ....runtime.errors import KyutaiOnnxError, UsageError
from ...engine.events import Busy, Ended
from ...registry import ModelRegistry, ServedModel, UnknownModel
from ...web.async_session import AsyncSession, SessionEnded
from ...web.client_timeout import client_timeout
from ...web.context import Context
from ...web.logs import log
from ...web.posts import Synthesis
from ...web.websocket_session import ClientGone, WebSocket, end_session
from ...wire import NO_ROOM
from ...wire.speech_encoders import Tempo
from .. import messages as openai
from . import beta
from .adapter import InputAdapter, ResponseAdapter
from .audio import InputDecoder, OutputEncoder
from .conversation import Conversation, ServerEvent, new_id
from .messages import (
    AppendAudio,
    CancelResponse,
    ClearAudio,
    ClientEvent,
    CommitAudio,
    CreateItem,
    CreateResponse,
    DeleteItem,
    RealtimeError,
    RetrieveItem,
    TruncateItem,
    UpdateSession,
    UpdateTranscriptionSession,
    parse_client_event,
)
from .settings import ServerVad, SessionSettings

PROTOCOL = "realtime"
"""The subprotocol that browsers ask for."""
BETA_PROTOCOL = "openai-beta.realtime-v1"


@dataclass(frozen=True)
class RealtimeQuery:
    """What a client asks for by its address: the models that are used, and whether it is to
    transcribe alone."""

    name: str
    transcriber: ServedModel | None
    speaker: ServedModel | None
    transcribes: bool


def parse_realtime_query(context: Context, query: Mapping[str, str]) -> RealtimeQuery:
    """Raises UnknownModel, also if no model is served that could do anything, and ValueError for an
    unknown intent."""
    intent, name = query.get("intent"), query.get("model")
    if intent not in (None, "", "transcription"):
        raise ValueError(f"intent {intent[:20]!r}: transcription, or none")
    tasks = (Task.SPEECH_TO_TEXT, Task.TEXT_TO_SPEECH)
    found = {task: _find(context.registry, task, name) for task in tasks}
    if not any(found.values()):
        return _unknown(context.registry, name)
    transcriber, speaker = (
        found[task] or _find(context.registry, task, None) for task in tasks
    )  # fmt: skip
    if intent and transcriber is None:
        return _unknown(context.registry, name)
    shown = name or (transcriber or cast("ServedModel", speaker)).name
    return RealtimeQuery(shown, transcriber, speaker, transcribes=bool(intent))


def _find(registry: ModelRegistry, task: Task, name: str | None) -> ServedModel | None:
    try:
        return registry.find(task, name)
    except UnknownModel:
        return None


def _unknown(registry: ModelRegistry, name: str | None) -> RealtimeQuery:
    """Raise UnknownModel as a search for a model that transcribes does."""
    registry.find(Task.SPEECH_TO_TEXT, name or "")
    raise UnknownModel(f"no model {(name or '')[:80]!r} here")


class InputStream:
    """The audio of a client since its last commit, in a session of a model."""

    def __init__(
        self, served: ServedModel, session: AsyncSession, decoder: InputDecoder,
        adapter: InputAdapter,
    ) -> None:  # fmt: skip
        self.served, self.session = served, session
        self.decoder, self.adapter = decoder, adapter
        self.reading: asyncio.Task[None] | None = None


class RealtimeClient:
    """One websocket. Raises ClientGone if its client leaves or reads nothing, SessionEnded at a
    limit."""

    def __init__(
        self, context: Context, socket: WebSocket, query: RealtimeQuery, tasks: asyncio.TaskGroup
    ) -> None:
        self._context, self._socket, self._query, self._tasks = context, socket, query, tasks
        self._works: set[asyncio.Task[None]] = set()
        self._is_beta = beta.VERSION in socket.header(beta.HEADER) or BETA_PROTOCOL in (
            name.strip() for name in socket.header("Sec-WebSocket-Protocol").split(",")
        )
        longest, now = context.limits.session, asyncio.get_running_loop().time()
        self._last = math.inf if longest is None else now + longest
        self._id = new_id("sess")
        self._settings = self._first_settings()
        self._conversation = Conversation(context.limits.characters)
        self._stream: InputStream | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._uncommitted = self._written = 0.0
        self._speech: asyncio.Task[None] | None = None
        self._response_id: str | None = None
        self._why: str | None = None

    async def serve(self) -> None:
        """Answer events until the client leaves."""
        self._start(self._watch_stop())
        try:
            await self._send(self._session_event("session.created"))
            while (message := await self._next()) is not None:
                await self._take(message)
        finally:
            for work in self._works:
                work.cancel()

    def _first_settings(self) -> SessionSettings:
        served = self._query.transcriber
        listening: dict[str, Any] = {}
        if served is not None and _has_pauses(served):
            listening["turn_detection"] = msgspec.to_builtins(ServerVad())
        if served is not None and self._query.transcribes:
            listening["transcription"] = {"model": served.name}
        kind = "transcription" if self._query.transcribes else "realtime"
        return SessionSettings().updated({"type": kind, "audio": {"input": listening}})

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return task

    async def _watch_stop(self) -> None:
        await self._context.stopped.wait()
        raise SessionEnded(Ended("shutdown"))

    async def _next(self) -> bytes | str | None:
        """Return the next message, None once the client has left; raises SessionEnded for a client
        that does nothing for too long, or stays for too long."""
        clock, idle, last = asyncio.get_running_loop().time, self._context.limits.idle, self._last
        while True:
            try:
                async with client_timeout(min(last - clock(), idle)):
                    return await self._socket.receive(lambda: self._is_busy)
            except TimeoutError:
                if clock() >= last:
                    raise SessionEnded(Ended("too long")) from None
                if not self._is_busy:
                    raise SessionEnded(Ended("idle")) from None

    @property
    def _is_busy(self) -> bool:
        listening = self._stream is not None and self._stream.session.is_busy
        return listening or self._finishing is not None or self._speech is not None

    async def _send(self, event: ServerEvent) -> None:
        shown = beta.to_beta(event) if self._is_beta else event
        if shown is not None:
            named = {"type": shown["type"], "event_id": new_id("event"), **shown}
            await self._socket.send(json.dumps(named, ensure_ascii=False))

    async def _send_all(self, events: list[ServerEvent]) -> None:
        for event in events:
            await self._send(event)

    async def _send_error(self, error: Exception, event_id: str | None = None) -> None:
        log("event refused", path="/v1/realtime", why=str(error))
        content = openai.error(
            str(error),
            getattr(error, "kind", "invalid_request_error"),
            param=getattr(error, "param", None),
            code=getattr(error, "code", None),
        )["error"]
        await self._send({"type": "error", "error": {**content, "event_id": event_id}})

    def _session_event(self, kind: str) -> ServerEvent:
        return {"type": kind, "session": self._settings.describe(self._id, self._query.name)}

    async def _take(self, message: bytes | str) -> None:
        """Handle a message; what is wrong with it is reported, and the session goes on."""
        data = message.encode() if isinstance(message, str) else message
        event_id = None
        try:
            event = await self._context.parse(parse_client_event, data)
            event_id = event.event_id
            await self._handle(event)
        except RealtimeError as error:
            await self._send_error(error, error.event_id or event_id)
        except (UsageError, UnknownModel) as error:
            await self._send_error(error, event_id)

    async def _handle(self, event: ClientEvent) -> None:
        match event:
            case AppendAudio(audio=data):
                await self._append(data)
            case CommitAudio():
                await self._commit()
            case ClearAudio():
                await self._clear()
            case UpdateSession(session=change):
                await self._update(change)
            case UpdateTranscriptionSession(session=change):
                await self._update({**change, "type": "transcription"})
            case CreateItem(item=asked):
                await self._send_all(self._conversation.create(asked))
            case DeleteItem(item_id=name):
                self._conversation.delete(name)
                await self._send({"type": "conversation.item.deleted", "item_id": name})
            case RetrieveItem(item_id=name):
                item = self._conversation.get(name)
                await self._send({"type": "conversation.item.retrieved", "item": item})
            case TruncateItem(item_id=name):
                self._conversation.get(name)
                shown = {"content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
                await self._send({"type": "conversation.item.truncated", "item_id": name, **shown})
            case CreateResponse():
                self._create_response(event)
            case CancelResponse(response_id=name):
                self._cancel_response("client_cancelled", name)

    async def _update(self, change: Mapping[str, Any]) -> None:
        changed = self._settings.updated(beta.from_beta(change))
        given, stream = changed.audio.input, self._stream
        holds_audio = (self._uncommitted or stream) and given != self._settings.audio.input
        if holds_audio and not (stream and stream.adapter.is_between_turns):
            raise RealtimeError(
                "the input audio buffer holds audio: commit or clear it, or wait for the end of "
                "the turn, before its format, transcription or turn detection changes",
                code="input_audio_buffer_not_empty",
                param="session.audio.input",
            )
        if changed.listens:
            served = self._transcriber(changed)
            if given.turn_detection is not None and not _has_pauses(served):
                raise RealtimeError(
                    f"{served.name} has no pause heads: set turn_detection to null, and commit",
                    code="unsupported",
                    param="session.audio.input.turn_detection",
                )
        if holds_audio and stream is not None:
            await self._end_input(stream)
        self._settings = changed
        await self._send(self._session_event("session.updated"))

    def _transcriber(self, settings: SessionSettings) -> ServedModel:
        """Return the model that reads the audio; raises UnknownModel."""
        asked = settings.audio.input.transcription
        name = asked.model if asked is not None else None
        if self._query.transcriber is not None and not name:
            return self._query.transcriber
        try:
            return self._context.registry.find(Task.SPEECH_TO_TEXT, name)
        except UnknownModel as error:
            raise RealtimeError(
                str(error), code="model_not_found", param="session.audio.input.transcription.model"
            ) from None

    async def _append(self, data: bytes) -> None:
        if not data:
            return
        if not self._settings.listens:
            rate = InputDecoder(self._settings.audio.input.format.type, 24000)
            self._note(len(data) / rate.bytes_a_second)
            return
        stream = self._stream or await self._open()
        before = stream.decoder.seconds
        pcm = await self._context.convert(2 * len(data), stream.decoder.push, data)
        self._note(stream.decoder.seconds - before)
        await self._context.feed(stream.session, pcm)
        await stream.session.room()

    def _note(self, seconds: float) -> None:
        self._uncommitted += seconds
        self._written += seconds

    async def _open(self) -> InputStream:
        """Start a stream, once the one before it has ended. Raises SessionEnded if there is no
        room."""
        if self._finishing is not None:
            await asyncio.wait({self._finishing})
        settings, limits = self._settings, self._context.limits
        served = self._transcriber(settings)
        given = settings.audio.input
        options = served.options(
            policy=None if given.turn_detection is None else given.turn_detection.policy,
            hotwords=openai.hotwords(given.transcription.keywords if given.transcription else ()),
        )
        try:
            session = AsyncSession(served, wait=limits.wait, options=options)
        except Busy:
            await self._refuse()
        stream = InputStream(
            served,
            session,
            InputDecoder(given.format.type, served.model.sample_rate),
            InputAdapter(
                self._conversation,
                settings,
                frame_rate=served.model.frame_rate,
                delay=served.about["delay"],
                before=self._written,
            ),
        )
        stream.reading = self._start(self._read(stream))
        self._stream = stream
        return stream

    async def _refuse(self) -> None:
        error = RealtimeError(NO_ROOM, code="server_busy", kind="server_error")
        await self._send_error(error)
        raise SessionEnded(Ended("busy"))

    async def _read(self, stream: InputStream) -> None:
        """Report the events of a stream, to its end."""
        try:
            with stream.session:
                while True:
                    for event in await stream.session.next_events():
                        if isinstance(event, Ended):
                            await self._end(stream, event)
                            return
                        reports = stream.adapter.report(event)
                        await self._send_all(reports)
                        self._interrupt(reports)
        finally:
            if self._stream is stream:
                self._stream, self._uncommitted = None, 0.0
            if self._finishing is stream.reading:
                self._finishing = None

    def _interrupt(self, reports: list[ServerEvent]) -> None:
        """Stop speaking when the client starts to."""
        turns = self._settings.audio.input.turn_detection
        started = any(r["type"] == "input_audio_buffer.speech_started" for r in reports)
        if started and turns is not None and turns.interrupt_response and self._speech is not None:
            self._cancel_response("turn_detected", None)

    async def _end(self, stream: InputStream, ended: Ended) -> None:
        if ended.reason == "done":
            await self._send_all(stream.adapter.finish(stream.decoder.seconds))
        elif ended.reason == "busy":
            await self._refuse()
        elif ended.reason in ("failed", "idle"):
            kind = "server_error" if ended.is_internal else "invalid_request_error"
            message = ended.message or "no audio came for too long"
            await self._send_all(stream.adapter.fail(message, kind))
            if ended.reason == "failed":
                await self._send_error(RealtimeError(message, kind=kind))
        else:
            raise SessionEnded(ended)

    async def _commit(self) -> None:
        if not self._uncommitted:
            raise RealtimeError(
                "the input audio buffer is empty: append audio before a commit",
                code="input_audio_buffer_commit_empty",
            )
        if self._stream is not None:
            await self._end_input(self._stream, commits=True)
            return
        self._uncommitted = 0.0
        adapter = InputAdapter(
            self._conversation, SessionSettings(), frame_rate=1, delay=0, before=0
        )
        await self._send_all(adapter.commit(0.0))

    async def _end_input(self, stream: InputStream, *, commits: bool = False) -> None:
        """End a stream, whose last text follows; the next audio opens another one."""
        self._stream, self._uncommitted, self._finishing = None, 0.0, stream.reading
        await self._context.feed(stream.session, stream.decoder.flush())
        if commits:
            await self._send_all(stream.adapter.commit(stream.decoder.seconds))
        stream.session.end()

    async def _clear(self) -> None:
        stream, self._stream, self._uncommitted = self._stream, None, 0.0
        if stream is not None and stream.reading is not None:
            stream.reading.cancel()
            await asyncio.wait({stream.reading})
            await self._send_all(stream.adapter.finish())
        await self._send({"type": "input_audio_buffer.cleared"})

    def _create_response(self, event: CreateResponse) -> None:
        """Start to speak; raises RealtimeError."""
        served, request = self._query.speaker, event.response
        if self._speech is not None:
            raise RealtimeError(
                f"the response {self._response_id} is being spoken: wait for response.done, or "
                "cancel it",
                code="conversation_already_has_active_response",
            )
        if served is None:
            raise RealtimeError("no model here speaks", code="model_not_found")
        settings, conversation = self._settings, self._conversation
        if request is not None:
            settings = settings.updated(beta.from_beta(request.settings))
        if request is not None and request.input is not None:
            texts = [item.text for item in request.input]
            conversation.check_length(texts)
            text = " ".join(filter(None, texts))
        else:
            text = conversation.waiting_text
        if not text.strip():
            raise RealtimeError(
                "nothing to speak: create an item with input_text first; no model of language "
                "answers here, so instructions have no effect",
                code="nothing_to_speak",
            )
        if not self._context.rate.admits(self._socket.caller):
            raise RealtimeError(
                "too many requests a minute", code="rate_limit_exceeded", kind="rate_limit_error"
            )
        if request is None or request.input is None:
            conversation.take_text()
        apart = request is not None and request.conversation == "none"
        adapter = ResponseAdapter(
            None if apart else conversation, settings, request.metadata if request else None
        )
        spoken = settings.audio.output
        synthesis = Synthesis(self._context, served, text, spoken.voice or None)
        self._response_id, self._why = adapter.id, None
        created = asyncio.Event()
        self._speech = asyncio.create_task(
            self._speak(served, adapter, synthesis, settings, created)
        )
        self._start(self._respond(adapter, self._speech, created))

    def _cancel_response(self, why: str, response_id: str | None) -> None:
        if self._speech is None or response_id not in (None, self._response_id):
            raise RealtimeError("no response is being spoken", code="response_cancel_not_active")
        self._why = why
        self._speech.cancel()

    async def _respond(
        self, adapter: ResponseAdapter, speech: asyncio.Task[None], created: asyncio.Event
    ) -> None:
        """Report that there is a response, wait for its speech, and report how it ended."""
        try:
            await self._send_all(adapter.start())
            created.set()
            await asyncio.wait({speech})
        finally:
            speech.cancel()
            await asyncio.gather(speech, return_exceptions=True)
            self._speech = None
        if speech.cancelled():
            await self._send_all(adapter.end("cancelled", reason=self._why))
            return
        fault = speech.exception()
        if fault is None:
            await self._send_all(adapter.end("completed"))
        elif isinstance(fault, KyutaiOnnxError | SessionEnded):
            internal = not isinstance(fault, UsageError)
            kind = "server_error" if internal else "invalid_request_error"
            error = {"type": kind, "code": getattr(fault, "code", None), "message": str(fault)}
            log("response failed", path="/v1/realtime", why=str(fault))
            await self._send_all(adapter.end("failed", error=error))
        else:
            raise fault

    async def _speak(
        self,
        served: ServedModel,
        adapter: ResponseAdapter,
        synthesis: Synthesis,
        settings: SessionSettings,
        created: asyncio.Event,
    ) -> None:
        spoken, rate = settings.audio.output, served.model.sample_rate
        encoder = OutputEncoder(spoken.format.type, rate)
        tempo = None if spoken.speed == 1 else Tempo(spoken.speed, rate)
        await created.wait()
        async for event in synthesis.events():
            if isinstance(event, Word):
                await self._send_all(adapter.word(event.text))
            elif isinstance(event, Audio):
                pcm = event.pcm if tempo is None else tempo.push(event.pcm)
                if data := encoder.push(pcm):
                    await self._send_all(adapter.audio(data))
        rest = encoder.push(tempo.end()) if tempo is not None else b""
        if data := rest + encoder.flush():
            await self._send_all(adapter.audio(data))


def _has_pauses(served: ServedModel) -> bool:
    return bool(served.model.language_model.spec.extra_heads > HEAD)


async def serve_realtime(context: Context, socket: WebSocket, query: RealtimeQuery) -> None:
    """One client of the websocket. Raises Busy if it is not open, and no slot is free: its session
    takes one later, with the first audio or response."""
    first = query.transcriber or query.speaker
    if first is not None and not socket.is_open:
        first.engine.check_room()
        await socket.open()
    try:
        async with asyncio.TaskGroup() as tasks:
            await RealtimeClient(context, socket, query, tasks).serve()
    except* ClientGone as gone:
        log("client gone", why=str(gone.exceptions[0]))
        socket.drop()
    except* SessionEnded as group:
        (*_, error) = group.exceptions
        await end_session(socket, cast("SessionEnded", error).ended)
    else:
        await socket.agree()
