"""What a client of moshi-server's text to speech is told of what the model says."""

from collections import deque

import numpy as np

from ...models import events
from ...models.tts.script_parser import ScriptParser
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..wire.errors import ProtocolError
from ..wire.messagepack import NO_ROOM
from ..wire.ogg_opus import OpusEncoder
from . import tts_messages as speaking
from .tts_messages import Format, Reply, Text

_LOUDEST = 0.99
_LONGEST_BREAK = 10.0
_MILLISECONDS = 1000.0


class _Spelling:
    """For a script whose words are wanted, not their tokens."""

    def encode(self, text: str) -> list[int]:  # noqa: ARG002
        return []

    def unk_id(self) -> int:
        return 0


class TtsAdapter:
    """One client's: its texts to what the model is to be fed, a stream's events to the bytes of
    messages, in the order in which they come."""

    def __init__(self, form: Format, frame_rate: float) -> None:
        self.format, self._frame_rate = form, frame_rate
        self._encoder = OpusEncoder() if form.is_opus else None
        self._script = ScriptParser(_Spelling(), _MILLISECONDS, speakers=False, padding_between=0)
        self._asked: deque[tuple[str, float]] = deque()
        self._said = 0.0

    def begin(self) -> list[bytes]:
        """The stream has a place."""
        header = [self._opus(self._encoder.header())] if self._encoder else []
        return [*self._messages(speaking.Ready()), *header]

    def refuse(self) -> list[bytes]:
        """There is no place, which the formats without messages cannot tell."""
        return self._messages(speaking.Error(NO_ROOM))

    def read(self, text: str) -> str:
        """What the model is to be fed of a message's text, nothing if it says nothing.

        The end of a message ends a word. Breaks are cut to ten seconds. Raises ProtocolError for
        one of more than a day.
        """
        joined = " ".join(text.replace("–", "").split())
        try:
            entries = [*self._script.feed(joined), *self._script.flush()]
        except UsageError as error:
            raise ProtocolError(str(error)) from error
        asked = [(entry.text, entry.padding / _MILLISECONDS) for entry in entries]
        asked = [(word, seconds) for word, seconds in asked if word or seconds]
        if self.format.has_messages:
            self._asked.extend(asked)
        return "".join(f"{word or self._break(seconds)} " for word, seconds in asked)

    def tell(self, event: events.Event) -> list[bytes]:
        """The messages of an event."""
        match event:
            case events.Audio(pcm):
                return self._audio(pcm)
            case events.Word(text, start, end):
                told = [*self._pauses(text, start), Text(text, start, end)]
                self._said = end
                return self._messages(*told)
        return []

    def finish(self) -> list[bytes]:
        """All was said: what is left to tell before the connection is closed."""
        rest = self._encoder.flush() if self._encoder else b""
        last = [self._opus(rest)] if rest else []
        return [*last, *self._messages(*self._pauses(None, None))]

    def _audio(self, pcm: Pcm) -> list[bytes]:
        clipped = np.clip(pcm, -_LOUDEST, _LOUDEST)
        if self._encoder:
            pages = self._encoder.push(clipped)
            return [self._opus(pages)] if pages else []
        if self.format.has_messages:
            return [speaking.pack(speaking.Audio(clipped))]
        return [clipped.astype("<f4").tobytes()]

    def _opus(self, pages: bytes) -> bytes:
        return speaking.pack(speaking.OggOpus(pages)) if self.format.has_messages else pages

    def _messages(self, *messages: Reply) -> list[bytes]:
        return [speaking.pack(message) for message in messages if self.format.has_messages]

    def _pauses(self, word: str | None, until: float | None) -> list[Text]:
        """The breaks that were asked for before a word, or all that are left, and when they were:
        the last one until that word."""
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
            Text(f'<break time="{seconds:.2f}s">', start, stop)
            for seconds, start, stop in zip(pauses, times, times[1:], strict=False)
        ]

    def _break(self, seconds: float) -> str:
        """A break as the model is to keep it: whole frames, rounded down, at least one."""
        frames = max(1, int(min(seconds, _LONGEST_BREAK) * self._frame_rate))
        return f'<break time="{frames / self._frame_rate:.3f}s"/>'
