"""One client that speaks Wyoming: what it asks for, one thing after the other."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from ...models.families import Task
from ...runtime.errors import UsageError
from ..engine.events import Busy
from ..registry import ServedModel, UnknownModel
from ..web.async_session import AsyncSession
from ..web.connections import LimitedConnection
from ..web.context import Context
from ..web.synthesis import TextFeeder
from ..web.transcription import AHEAD
from . import messages
from .adapter import (
    Begin,
    ChunkDecoder,
    End,
    Say,
    SpeechAdapter,
    SynthesisRequests,
    TranscriptAdapter,
    decoded_size,
    pieces,
)
from .frames import Event, EventReader
from .info import describe
from .messages import Message, pack, parse

READ_BYTES = 1 << 14
"""Bytes that are read at once."""
EVENTS_AT_ONCE = 16
"""Events of a client that are parsed and answered in one turn of the event loop."""


class WyomingClient:
    """Reads and answers until the client leaves. Raises ProtocolError for what is none of its
    protocol, TimeoutError where it sends or takes nothing for too long, and what a session does."""

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
        self._waiting: deque[Message] = deque()
        self._requests = SynthesisRequests()
        self._asked_for: deque[Begin | Say | End] = deque()
        self._model: str | None = None

    async def serve(self) -> None:
        """To the end."""
        while (message := await self._next()) is not None:
            match message:
                case messages.Describe():
                    await self._send([await describe(self._context)])
                case messages.Ping(text):
                    await self._send([messages.Pong(text)])
                case messages.Transcribe(name):
                    self._model = name
                case messages.AudioStart():
                    await self._transcribe()
                case _:
                    self._asked_for.extend(self._requests.take(message))
                    if self._asked_for and isinstance(begin := self._asked_for.popleft(), Begin):
                        await self._speak(begin)

    async def _transcribe(self) -> None:
        served = self._find(Task.SPEECH_TO_TEXT, self._model)
        adapter, decoder = TranscriptAdapter(streaming=True), ChunkDecoder(served.model.sample_rate)
        wait = self._context.limits.wait
        with self._session(), AsyncSession(served, wait=wait, ahead=AHEAD, lead=True) as session:
            async for event in session.events(self._feed_audio(session, decoder)):
                await self._send(adapter.report(event))
        await self._send(adapter.end())
        self._model = None

    async def _feed_audio(self, session: AsyncSession, decoder: ChunkDecoder) -> None:
        while not isinstance(message := await self._next(), messages.AudioStop):
            if message is None:
                raise ConnectionResetError("left before the audio had ended")
            if isinstance(message, messages.AudioChunk):
                await self._feed_chunk(session, decoder, message)
        session.feed(decoder.flush())
        session.end()

    async def _feed_chunk(
        self, session: AsyncSession, decoder: ChunkDecoder, chunk: messages.AudioChunk
    ) -> None:
        """A second at a time: decoded, it may be many times as large."""
        context = self._context
        for piece in pieces(chunk):
            pcm = await context.convert(decoded_size(piece), decoder.push, piece)
            await context.feed(session, pcm)
            await session.room()

    async def _speak(self, request: Begin) -> None:
        served = self._find(Task.TEXT_TO_SPEECH, None)
        voices, options = served.voices, served.speech_options()
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
        while not isinstance(request := await self._next_request(), End):
            if isinstance(request, Say):
                left -= len(request.text)
                if left < 0:
                    raise UsageError("the text is too long")
                await text.feed(request.text)
        session.end()

    async def _next_request(self) -> Begin | Say | End:
        while not self._asked_for:
            message = await self._next()
            if message is None:
                raise ConnectionResetError("left before the text had ended")
            self._asked_for.extend(self._requests.take(message))
        return self._asked_for.popleft()

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

    async def _next(self) -> Message | None:
        """The next message of a known kind; None where the client has left. One that has begun is
        whole within the time of a silence."""
        limits, loop = self._context.limits, asyncio.get_running_loop()
        end = loop.time() + (limits.silence if self._events.pending else limits.idle)
        while not self._waiting:
            await self._context.take_turn()
            found = await self._context.convert(self._events.pending, self._some)
            self._waiting += [message for message in found if message is not None]
            if found:
                continue
            async with asyncio.timeout_at(end):
                data = await self._reader.read(READ_BYTES)
            if not data:
                return None
            if not self._events.pending:
                end = loop.time() + limits.silence
            self._come = self._events.push(data)
        self._connection.ask()
        return self._waiting.popleft()

    def _some(self) -> list[Message | None]:
        """The messages of a few events that are whole."""
        return [parse(event) for event in islice(self._come, EVENTS_AT_ONCE)]

    async def _send(self, told: Iterable[Message]) -> None:
        for message in told:
            self._writer.write(pack(message))
        async with asyncio.timeout(self._context.limits.stall):
            await self._writer.drain()
