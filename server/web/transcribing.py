"""A recording that was posted: decoded a block at a time, and heard in a session of its own."""

import functools
import io
from collections.abc import AsyncIterator
from typing import Any

from ...models.batch import Row
from ...models.events import Event
from ...runtime.audio import AudioReader, read_audio
from ...runtime.errors import UsageError
from ..served import Served
from .context import Context
from .visit import Visit

BLOCK_SECONDS = 5.0


class Recording(io.BytesIO):
    """The bytes of one, by the name that errors call it."""

    name = "the audio"


def join(served: Served, batch: Any, *, lead: bool, **given: Any) -> Row:
    """A row of speech to text that tells its steps too; without `lead` the client brings a silence
    of its own."""
    if given.get("temperature") is None:
        given["temperature"] = served.config.temperature
    row: Row = batch.join(live=True, lead=lead, **given)
    return row


class Transcribing:
    """One recording, in any format that is read here. `given` are arguments of the model's
    `stream`. `duration` is how many seconds were heard so far."""

    def __init__(self, context: Context, served: Served, body: bytes, **given: Any) -> None:
        self._context, self._served, self._given = context, served, given
        self._recording = Recording(body)
        self._rate = served.model.sample_rate
        self._samples = 0

    @property
    def duration(self) -> float:
        return self._samples / self._rate

    async def events(self) -> AsyncIterator[Event]:
        """What is found, as it is found.

        Raises AudioError for what cannot be read, UsageError for what is too long or cannot be
        asked, and as `Visit.events` does.
        """
        begin = functools.partial(join, self._served, lead=True, **self._given)
        blocks = await self._context.work(self._open)
        with Visit(self._served.engine, begin, wait=self._context.limits.wait) as visit:
            async for event in visit.events(self._feed(visit, blocks)):
                yield event

    def _open(self) -> AudioReader:
        blocks = read_audio(self._recording, self._rate, block_seconds=BLOCK_SECONDS)
        self._check(blocks.info.duration or 0.0)
        return blocks

    async def _feed(self, visit: Visit, blocks: AudioReader) -> None:
        while (block := await self._context.work(next, blocks, None)) is not None:
            self._samples += len(block)
            self._check(self.duration)
            visit.session.feed(block)
            await visit.room()
        visit.session.end()

    def _check(self, seconds: float) -> None:
        most = self._context.limits.audio
        if seconds > most:
            raise UsageError(f"the audio is longer than {most:g} s, the most that is heard at once")
