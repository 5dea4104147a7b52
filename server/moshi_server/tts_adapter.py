"""Between the messages of moshi-server's text to speech and a stream: texts in, events out."""

from collections import deque

import numpy as np

from ...models import events
from ...models.tts.script_parser import ScriptParser
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..wire.errors import NO_ROOM, ProtocolError
from ..wire.messagepack import pack
from ..wire.ogg_opus import OpusEncoder
from . import messages
from .messages import TimedTextMessage, TtsFormat, TtsReply

_LOUDEST = 0.99
_LONGEST_BREAK = 10.0
_MILLISECONDS = 1000.0


class _Spelling:
    """A tokenizer for scripts of which only the words are used."""

    def encode(self, text: str) -> list[int]:  # noqa: ARG002
        return []

    def unk_id(self) -> int:
        return 0


class TtsAdapter:
    """One client's: its texts to what the stream is fed, the stream's events to the bytes of
    messages, in order."""

    def __init__(self, form: TtsFormat, frame_rate: float) -> None:
        self.format, self._frame_rate = form, frame_rate
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

    def report(self, event: events.Event) -> list[bytes]:
        """Return the messages of an event."""
        match event:
            case events.Audio(pcm):
                return self._audio(pcm)
            case events.Word(text, start, end):
                timed = [*self._pauses(text, start), TimedTextMessage(text, start, end)]
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

    def _messages(self, *replies: TtsReply) -> list[bytes]:
        return [pack(reply) for reply in replies if self.format.has_messages]

    def _pauses(self, word: str | None, until: float | None) -> list[TimedTextMessage]:
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
            TimedTextMessage(f'<break time="{seconds:.2f}s">', start, stop)
            for seconds, start, stop in zip(pauses, times, times[1:], strict=False)
        ]

    def _break(self, seconds: float) -> str:
        """Return a break as the model keeps it: whole frames, rounded down, at least one."""
        frames = max(1, int(min(seconds, _LONGEST_BREAK) * self._frame_rate))
        return f'<break time="{frames / self._frame_rate:.3f}s"/>'
