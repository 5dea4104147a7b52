"""What a client posts, in a session of its own: a recording that is transcribed or translated, a
text that is spoken; and an answer that is sent piece by piece."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, BinaryIO, Self

from aiohttp import web

from ...models.events import Event
from ...runtime.errors import UsageError
from ..decoding import RecordingDecoder
from ..openai.messages import EVENTS
from ..registry import ServedModel
from .async_session import AHEAD, AsyncSession, TextFeeder
from .context import Context
from .logs import log
from .middleware import GONE, error_answer


class Transcription:
    """One recording, a file in any supported format, for a model that reads audio; `options` are
    those of its family, `duration` is how many seconds were fed so far."""

    def __init__(
        self, context: Context, served: ServedModel, file: BinaryIO, **options: Any
    ) -> None:
        self._context, self._served, self._file = context, served, file
        self._options = served.options(**options)
        self._rate = served.model.sample_rate
        self._samples = 0

    @property
    def duration(self) -> float:
        return self._samples / self._rate

    async def events(self) -> AsyncIterator[Event]:
        """Yield events as they are found.

        Raises AudioError for a file that cannot be read, UsageError for one that is too long or an
        invalid argument, Busy if too much is decoded, and as `AsyncSession.events` does.
        """
        context, served = self._context, self._served
        with RecordingDecoder(context.decoders, self._file, self._rate) as recording:
            self._check(await recording.open() or 0.0)
            wait, options = context.limits.wait, self._options
            with AsyncSession(served, wait=wait, ahead=AHEAD, options=options) as session:
                async for event in session.events(self._feed(session, recording)):
                    yield event

    async def _feed(self, session: AsyncSession, recording: RecordingDecoder) -> None:
        while (block := await recording.read()) is not None:
            self._samples += len(block)
            self._check(self.duration)
            await self._context.feed(session, block)
            await session.room()
        session.end()

    def _check(self, seconds: float) -> None:
        most = self._context.limits.audio
        if seconds > most:
            raise UsageError(
                f"the audio is longer than {most:g} s, the limit of one request: send it in parts"
            )


class Synthesis:
    """One text, in a voice or the default one; `options` are of `SpeechOptions`."""

    def __init__(
        self,
        context: Context,
        served: ServedModel,
        text: str,
        voice: str | None = None,
        **options: Any,
    ) -> None:
        self._context, self._served, self._text, self._voice = context, served, text, voice
        self._options = served.options(**options)

    async def events(self) -> AsyncIterator[Event]:
        """Yield events as the text is spoken. Raises UnknownVoice, and as `AsyncSession.events`
        does."""
        voices, options = self._served.voices, self._options
        voice = await self._context.work(voices.prepare, self._voice, options.cfg_coef)
        wait = self._context.limits.wait
        with AsyncSession(self._served, wait=wait, voice=voice, options=options) as session:
            async for event in session.events(self._feed(session)):
                yield event

    async def _feed(self, session: AsyncSession) -> None:
        await TextFeeder(session).feed(self._text)
        session.end()


class StreamingResponse:
    """Start with the first piece: until then the request may still fail with a status. An error in
    the block after that is the last event of a stream of events, and cuts off any other answer: to
    end it as usual would make a part look like the whole. `response` is what the handler
    returns."""

    def __init__(self, request: web.Request, content_type: str) -> None:
        self._request, self._has_events = request, content_type == EVENTS
        self.response = web.StreamResponse(headers={"Content-Type": content_type})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not self.response.prepared or not isinstance(error, Exception):
            return False
        refused = error_answer(self._request, error)
        if refused.status == GONE:
            return False
        log("answer broken off", path=self._request.path, why=str(error) or type(error).__name__)
        if self._has_events:
            await self.finish(f"data: {refused.text}\n\n".encode())
        elif self._request.transport is not None:
            self._request.transport.abort()
        return True

    async def write(self, data: bytes) -> None:
        """Send a piece."""
        await self._begin()
        await self.response.write(data)

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece."""
        await self._begin()
        await self.response.write_eof(data)

    async def _begin(self) -> None:
        if not self.response.prepared:
            await self.response.prepare(self._request)
