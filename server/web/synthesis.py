"""Synthesis of a posted text, in a session of its own."""

import re
from collections.abc import AsyncIterator
from typing import Any

from ...models.events import Event
from ..registry import ServedModel
from .async_session import AsyncSession
from .context import Context

_PIECE = re.compile(r"(?:\s*\S+){1,200}\s*")
"""Words of a long text that are fed at once."""


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
        self._options = served.speech_options(**options)

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


class TextFeeder:
    """Feed a session a text in pieces of any size, no faster than it takes them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session, self._space = session, ""

    async def feed(self, text: str) -> None:
        """Feed more text; spaces alone wait for the text behind them."""
        text, self._space = self._space + text, ""
        if not text.strip():
            self._space = text[:1]
            return
        for found in _PIECE.finditer(text):
            self._session.feed(found.group())
            await self._session.room()
