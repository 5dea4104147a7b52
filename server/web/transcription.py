"""Transcription of a posted recording: decoded a block at a time, in a session of its own."""

from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from ...models.events import Event
from ...runtime.errors import UsageError
from ..decoding import RecordingDecoder
from ..registry import ServedModel
from .async_session import AsyncSession
from .context import Context

AHEAD = 30.0
"""Seconds of decoded audio that wait for the model: the rest waits in the posted file."""


class Transcription:
    """One recording, a file in any supported format. `given` are arguments of the model's `stream`;
    `duration` is how many seconds were fed so far."""

    def __init__(self, context: Context, served: ServedModel, file: BinaryIO, **given: Any) -> None:
        self._context, self._served, self._given = context, served, given
        self._file = file
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
            with AsyncSession(
                served, wait=context.limits.wait, ahead=AHEAD, lead=True, **self._given
            ) as session:
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
