"""A stream's events to messages of moshi-server's speech to text."""

from ...models import events
from ..wire.errors import NO_ROOM
from .messages import (
    EndWordMessage,
    ErrorMessage,
    ReadyMessage,
    StepMessage,
    SttReply,
    WholeWordMessage,
    WordMessage,
)


class SttAdapter:
    """One client's: a live stream's events to messages, in order. With `exact`, closed words are
    sent with their final text, which only our own client expects."""

    _open: int
    _closing: bool

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._begin_words()

    def start(self) -> SttReply:
        """Return the message for a stream that got a slot or was reset."""
        self._begin_words()
        return ReadyMessage()

    def refuse(self) -> SttReply:
        """Return the message for a client without a slot."""
        return ErrorMessage(NO_ROOM)

    def report(self, event: events.Event, buffered: int = 0) -> list[SttReply]:
        """Return the messages of an event; `buffered` samples wait for the model.

        A word is sent as soon as it is found, and its end at the boundary that closes it: there the
        text since the last boundary may be split into other words, which end as one. Without extra
        heads no steps are sent: clients take any value in one for a pause.
        """
        match event:
            case events.Step(index, pauses) if pauses:
                return [StepMessage(index, pauses, buffered)]
            case events.WordStarted(text, start):
                if self._closing:
                    self._begin_words()
                self._open += _letters(text)
                return [WordMessage(text, start)]
            case events.Word(text, start, end) if self._exact:
                return [WholeWordMessage(text, start, end)]
            case events.Word(text, _, end):
                self._closing = True
                self._open -= _letters(text)
                return [EndWordMessage(end)] if self._open <= 0 else []
        return []

    def _begin_words(self) -> None:
        """Count letters from 0, as at a boundary."""
        self._open, self._closing = 0, False


def _letters(text: str) -> int:
    return len("".join(text.split()))
