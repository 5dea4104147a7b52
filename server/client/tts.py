"""Text to speech on a server."""

from collections.abc import Iterator, Sequence
from typing import Unpack

from ...models.events import Audio, Event, Word
from ...models.options import SpeechKwargs, SpeechOptions
from ...runtime.errors import UsageError
from ..moshi_server import messages
from ..moshi_server.messages import TtsFormat
from ..wire import NO_ROOM, ProtocolError
from ..wire.messagepack import pack
from .connection import Connection, RemoteModel, ServerError, broken, busy, query_of

BREAK = "<break "
"""How the text of a pause begins, which comes as words do."""
LONGEST_TAG = 100


class RemoteTextToSpeech(RemoteModel):
    """A model on a server."""

    default_voice: str | None = None
    """The server chooses."""

    @property
    def is_greedy(self) -> bool:
        return self.info.greedy

    def stream(
        self,
        voices: Sequence[str] = (),
        *,
        options: SpeechOptions | None = None,
        trace: None = None,
        **named: Unpack[SpeechKwargs],
    ) -> "RemoteSpeech":
        """One text, spoken in a voice that the server knows; options as those of
        `TextToSpeech.stream`, as far as a server lets clients choose. Raises UsageError for more,
        ServerError if it cannot be reached."""
        if trace is not None:
            raise UsageError("a trace: not over a server; leave it out")
        if len(voices) > 1:
            raise UsageError("one voice at a time over a server: give '--voice' once")
        query = query_of(options or SpeechOptions(**named))
        return RemoteSpeech(self, {**query, "voice": voices[0] if voices else None})


class RemoteSpeech:
    """Text in; `Audio` and `Word` out, as they come."""

    unspelled: Sequence[str] = ()
    """A server does not report it."""
    dropped_tags: Sequence[str] = ()
    """Nor this."""

    _connection: Connection
    _rest: str
    """What may be half a word."""
    _asked: int
    _spoken: int
    _answered: bool
    _ended: bool

    def __init__(self, model: RemoteTextToSpeech, query: dict[str, object]) -> None:
        self.model = model
        self._query = {"format": TtsFormat.PCM_MESSAGE_PACK, **query}
        self._open()

    def add(self, text: str) -> None:
        """Takes any piece of text; what may be half a word waits for the rest of it."""
        text = self._rest + text
        whole = _whole_words(text)
        self._rest = text[whole:]
        self._say(text[:whole])

    def next_turn(self) -> None:
        """Raises UsageError: there is one voice."""
        raise UsageError("--turns: one voice at a time over a server; leave it out")

    def _come(self) -> Iterator[Event]:
        over = self._connection.over
        for data in self._connection.take():
            yield from self._take(data)
        if over:
            self._connection.check()
            if not self._ended:
                raise broken(self.model.address, "it closed before the text's end")

    @property
    def task(self) -> "RemoteSpeech":
        """What is known of it."""
        return self

    def end(self) -> None:
        """The end of the text: `events` gives the rest."""
        if not self._ended:
            self._ended = True
            self._say(self._rest)
            self._connection.send(pack(messages.EosMessage()))

    def events(self) -> Iterator[Event]:
        """What has come by now; after `end` all that is still to come, as it comes.

        Raises ServerError if the session broke off.
        """
        while self._ended and not self._connection.over:
            self._connection.wait()
            yield from self._come()
        yield from self._come()

    def close(self) -> list[Event]:
        """End here: leave the server, which has sent every word whose audio started."""
        self._connection.close()
        return []

    def reset(self) -> None:
        """A new text, in a session of its own."""
        self._connection.close()
        self._open()

    @property
    def given(self) -> bool:
        """Whether anything was spoken."""
        return self._answered

    @property
    def waiting_words(self) -> int:
        """How many words wait to be spoken."""
        return max(0, self._asked - self._spoken)

    def _open(self) -> None:
        self._rest = ""
        self._asked = self._spoken = 0
        self._answered = self._ended = False
        self._connection = self.model.connect(self._query)

    def _say(self, text: str) -> None:
        if text.strip():
            self._asked += len(text.split())
            self._connection.send(pack(messages.TextMessage(text)))

    def _take(self, data: bytes) -> Iterator[Event]:
        address = self.model.address
        try:
            reply = messages.parse_tts_reply(data)
        except ProtocolError as error:
            raise broken(address, str(error)) from None
        match reply:
            case messages.AudioMessage(pcm):
                self._answered = True
                yield Audio(pcm)
            case messages.TimedTextMessage(text, start, stop) if not text.startswith(BREAK):
                self._answered = True
                self._spoken += 1
                yield Word(text, start, stop)
            case messages.ErrorMessage(message):
                raise refused_by(self.model, message)


def refused_by(model: RemoteTextToSpeech, message: str) -> ServerError | UsageError:
    """Why a server does not speak: there is no room, or it knows no such voice."""
    if message == NO_ROOM:
        return busy(model.address, message)
    return UsageError(f"{model.address.url}: {message}")


def _whole_words(text: str) -> int:
    """How much of a text is whole words, none of them in a tag that is still open."""
    tag = text.rfind("<")
    if tag >= 0 and ">" not in text[tag:] and len(text) - tag < LONGEST_TAG:
        text = text[:tag]
    return max((index for index, letter in enumerate(text, 1) if letter.isspace()), default=0)
