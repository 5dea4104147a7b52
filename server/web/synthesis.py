"""A text that was posted, spoken in a session of its own; and how any text joins an engine."""

import functools
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from ...models.batch import Row
from ...models.events import Event
from ...models.tts.speech_options import SpeechOptions
from ...models.tts.voice_prompt import Voice
from ..registry import ServedModel
from ..voices import VoiceCatalog
from .async_session import AsyncSession
from .context import Context

_PIECE = re.compile(r"(?:\s*\S+){1,200}\s*")
"""Words of a long text that are given at once."""

Begin = Callable[[Any], Row]


def beginning(speaker: Voice, manner: SpeechOptions) -> Begin:
    """What joins a batch of text to speech."""
    return functools.partial(_join, speaker, manner)


def _join(speaker: Voice, manner: SpeechOptions, batch: Any) -> Row:
    row: Row = batch.join(speaker=speaker, manner=manner)
    return row


def speakers_of(served: ServedModel) -> VoiceCatalog:
    """The voices of a model that speaks texts."""
    assert served.speakers is not None
    return served.speakers


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
        self._manner = served.manner(**options)

    async def events(self) -> AsyncIterator[Event]:
        """What is spoken, as it is made. Raises UnknownVoice, and as `AsyncSession.events` does."""
        speakers, manner = speakers_of(self._served), self._manner
        speaker = await self._context.work(speakers.speaker, self._voice, manner.cfg_coef)
        begin = beginning(speaker, manner)
        with AsyncSession(self._served.engine, begin, wait=self._context.limits.wait) as visit:
            async for event in visit.events(self._feed(visit)):
                yield event

    async def _feed(self, visit: AsyncSession) -> None:
        await TextFeeder(visit).feed(self._text)
        visit.session.end()


class TextFeeder:
    """Gives a session a text that comes in pieces of any size, no more at once than it takes."""

    def __init__(self, visit: AsyncSession) -> None:
        self._visit, self._space = visit, ""

    async def feed(self, text: str) -> None:
        """More of it; spaces alone wait for what comes behind them."""
        text, self._space = self._space + text, ""
        if not text.strip():
            self._space = text[:1]
            return
        for found in _PIECE.finditer(text):
            self._visit.session.feed(found.group())
            await self._visit.room()
