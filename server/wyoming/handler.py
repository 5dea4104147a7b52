"""Clients that speak Wyoming, on a port of its own: speech to text and text to speech for Home
Assistant."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong

from ...models.families import Task
from ...runtime.errors import KyutaiOnnxError, UsageError
from ..engine.events import INTERNAL_ERROR, Busy
from ..registry import ServedModel, UnknownModel
from ..voices import DEFAULT_VOICE
from ..web.async_session import AHEAD, AsyncSession, SessionEnded, TextFeeder
from ..web.client_timeout import client_timeout
from ..web.connections import LimitedConnection
from ..web.context import Context
from ..web.logs import LOG, log
from ..web.session_counts import TooManySessions
from ..web.status import PACKAGE, package_version
from .adapter import (
    ChunkDecoder,
    SpeechAdapter,
    TextEnd,
    TextPiece,
    TextRequests,
    TextStart,
    TranscriptAdapter,
    decoded_size,
    pieces,
)
from .messages import EventReader, pack_event, parse_request

READ_BYTES = 1 << 14
"""Bytes that are read at once."""
EVENTS_AT_ONCE = 16
"""Events of a client that are parsed and answered in one turn of the event loop."""
PARTING_SECONDS, PARTING_BYTES = 5.0, 1 << 20
"""How long, and how much, is read from a client whose request is refused while it writes."""
KYUTAI = Attribution("Kyutai", "https://kyutai.org")
USUAL_LANGUAGES = ("en",)
"""Of a model whose name says none: a client wants one."""
OURS = Attribution(PACKAGE, "https://pypi.org/project/kyutai-onnx/")


class WyomingServer:
    """Belongs to the event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Listens on sockets that have a port."""
        opener = self._context.limiter.opener(self._protocol, http=False)
        for bound in sockets:
            listening = asyncio.get_running_loop().create_server(opener, sock=bound)
            self._servers.append(await listening)

    def shut(self) -> None:
        """Refuse new connections, so that a balancer goes elsewhere."""
        for server in self._servers:
            server.close()

    async def stop(self) -> None:
        """Refuse new connections, and end those that are left."""
        self.shut()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader(READ_BYTES)
        return asyncio.StreamReaderProtocol(reader, self._accept)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._clients.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("unknown",))[0])
        connection = LimitedConnection.of(writer.transport)
        if connection is None:
            return
        client = WyomingClient(self._context, connection, address, reader, writer)
        log("client came", protocol="wyoming", caller=address)
        try:
            await client.serve()
        except (ConnectionError, TimeoutError) as error:
            log("client gone", protocol="wyoming", why=str(error) or "sent nothing")
        except (KyutaiOnnxError, SessionEnded, TooManySessions) as error:
            code = "busy" if isinstance(error, Busy | TooManySessions) else None
            text = str(error)
            log("client refused", protocol="wyoming", why=text)
            await _report_error(reader, writer, Error(text, code))
        except Exception as error:
            LOG.error("request failed", exc_info=error)
            await _report_error(reader, writer, Error(INTERNAL_ERROR))
        finally:
            log("client left", protocol="wyoming", caller=address)


async def _report_error(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, error: Error
) -> None:
    """Send an error, and read on for a moment what the client still writes: closed with unread
    bytes, a connection is reset, and the error lost."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(PARTING_SECONDS):
            writer.write(pack_event(error))
            await writer.drain()
            writer.write_eof()
            left = PARTING_BYTES
            while left > 0 and (data := await reader.read(READ_BYTES)):
                left -= len(data)


class WyomingClient:
    """Reads and answers until the client leaves. Raises ProtocolError for what is none of its
    protocol, TimeoutError if it sends or takes nothing for too long, and what a session does."""

    def __init__(
        self,
        context: Context,
        connection: LimitedConnection,
        address: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._context, self._connection, self._address = context, connection, address
        self._reader, self._writer = reader, writer
        self._events = EventReader()
        self._come: Iterator[Event] = iter(())
        """Events that have come and are not parsed yet."""
        self._waiting: deque[Eventable] = deque()
        self._requests = TextRequests()
        self._text: deque[TextStart | TextPiece | TextEnd] = deque()
        self._model: str | None = None

    async def serve(self) -> None:
        """To the end."""
        while (message := await self._next()) is not None:
            match message:
                case Describe():
                    await self._send([await describe(self._context)])
                case Transcribe(name):
                    self._model = name
                case AudioStart():
                    await self._transcribe()
                case AudioChunk():  # of a client that sends no start
                    self._waiting.appendleft(message)
                    await self._transcribe()
                case _:
                    self._text.extend(self._requests.read(message))
                    if self._text and isinstance(begin := self._text.popleft(), TextStart):
                        await self._speak(begin)

    async def _transcribe(self) -> None:
        served = self._find(Task.SPEECH_TO_TEXT, self._model)
        adapter, decoder = TranscriptAdapter(streaming=True), ChunkDecoder(served.model.sample_rate)
        wait = self._context.limits.wait
        with (
            self._session(),
            AsyncSession(served, wait=wait, ahead=AHEAD, options=served.options()) as session,
        ):
            async for event in session.events(self._feed_audio(session, decoder)):
                await self._send(adapter.report(event))
        await self._send(adapter.end())
        self._model = None

    async def _feed_audio(self, session: AsyncSession, decoder: ChunkDecoder) -> None:
        while not isinstance(message := await self._next(), AudioStop):
            if message is None:
                raise ConnectionResetError("left before the audio had ended")
            if isinstance(message, AudioChunk):
                await self._feed_chunk(session, decoder, message)
        session.feed(decoder.flush())
        session.end()

    async def _feed_chunk(
        self, session: AsyncSession, decoder: ChunkDecoder, chunk: AudioChunk
    ) -> None:
        """A second at a time: decoded, it may be many times as large."""
        context = self._context
        for piece in pieces(chunk):
            pcm = await context.convert(decoded_size(piece), decoder.push, piece)
            await context.feed(session, pcm)
            await session.room()

    async def _speak(self, request: TextStart) -> None:
        served = self._find(Task.TEXT_TO_SPEECH, None)
        voices, options = served.voices, served.options()
        name = request.voice.name if request.voice is not None else None
        voice = await self._context.work(voices.prepare, name, options.cfg_coef)
        adapter = SpeechAdapter(served.model.sample_rate, streaming=request.streaming)
        with (
            self._session(),
            AsyncSession(
                served, wait=self._context.limits.wait, voice=voice, options=options
            ) as session,
        ):
            async for event in session.events(self._feed_text(session)):
                await self._send(adapter.report(event))
        await self._send(adapter.end())

    async def _feed_text(self, session: AsyncSession) -> None:
        text, left = TextFeeder(session), self._context.limits.characters
        while not isinstance(request := await self._next_request(), TextEnd):
            if isinstance(request, TextPiece):
                left -= len(request.text)
                if left < 0:
                    raise UsageError("the text is too long")
                await text.feed(request.text)
        session.end()

    async def _next_request(self) -> TextStart | TextPiece | TextEnd:
        while not self._text:
            message = await self._next()
            if message is None:
                raise ConnectionResetError("left before the text had ended")
            self._text.extend(self._requests.read(message))
        return self._text.popleft()

    @contextmanager
    def _session(self) -> Iterator[None]:
        if not self._context.rate.admits(self._address):
            raise Busy("too many requests a minute")
        with self._context.sessions.session(self._address), self._connection.session():
            yield

    def _find(self, task: Task, name: str | None) -> ServedModel:
        try:
            return self._context.registry.find(task, name)
        except UnknownModel as error:
            raise UsageError(str(error)) from None

    async def _next(self) -> Eventable | None:
        """The next message of a known kind; None if the client has left. Pings are answered at
        once, also within audio and text."""
        while isinstance(message := await self._read_message(), Ping):
            await self._send([Pong(message.text)])
        return message

    async def _read_message(self) -> Eventable | None:
        """The next message or ping; None if the client has left. One that has begun is whole within
        the time of a silence."""
        limits, loop = self._context.limits, asyncio.get_running_loop()
        end = loop.time() + (limits.silence if self._events.pending else limits.idle)
        while not self._waiting:
            await self._context.take_turn()
            found = await self._context.convert(self._events.pending, self._some)
            self._waiting += [message for message in found if message is not None]
            if found:
                continue
            async with client_timeout(end - loop.time()):
                data = await self._reader.read(READ_BYTES)
            if not data:
                return None
            if not self._events.pending:
                end = loop.time() + limits.silence
            self._come = self._events.push(data)
        self._connection.ask()
        return self._waiting.popleft()

    def _some(self) -> list[Eventable | None]:
        """The messages of a few events that are whole."""
        return [parse_request(event) for event in islice(self._come, EVENTS_AT_ONCE)]

    async def _send(self, messages: Iterable[Eventable]) -> None:
        for message in messages:
            self._writer.write(pack_event(message))
        async with client_timeout(self._context.limits.stall):
            await self._writer.drain()


async def describe(context: Context) -> Info:
    """Return the models that transcribe, and the voices of the first that speaks."""
    transcribing, speaking = (
        [served for served in context.registry.all if served.family.task is task]
        for task in (Task.SPEECH_TO_TEXT, Task.TEXT_TO_SPEECH)
    )
    info = Info()
    if transcribing:
        models = [
            AsrModel(
                languages=_languages(served),
                **_artifact(served.name, served),
            )
            for served in transcribing
        ]
        asr = AsrProgram(models=models, **_program("Speech to text"))
        asr.supports_transcript_streaming = True
        info.asr.append(asr)
    if speaking:
        served = speaking[0]
        catalog = served.voices
        names = [voice.name for voice in await context.work(catalog.names)]
        voices = [
            TtsVoice(languages=_languages(served), **_artifact(name, served))
            for name in dict.fromkeys([catalog.default or DEFAULT_VOICE, *names])
        ]
        tts = TtsProgram(voices=voices, **_program("Text to speech"))
        tts.supports_synthesize_streaming = True
        info.tts.append(tts)
    return info


def _languages(served: ServedModel) -> list[str]:
    return served.languages or [*USUAL_LANGUAGES]


def _artifact(name: str, served: ServedModel) -> dict[str, Any]:
    return {**_program(f"{name} by {served.name}"), "name": name, "attribution": KYUTAI}


def _program(description: str) -> dict[str, Any]:
    return {
        "name": PACKAGE,
        "attribution": OURS,
        "installed": True,
        "description": description,
        "version": package_version(),
    }
