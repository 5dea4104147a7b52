"""What a client of moshi-server's speech to text is told of what the model finds."""

from ...models import events
from ..wire.messagepack import NO_ROOM
from .stt_messages import EndWord, Error, Ready, Reply, Step, WholeWord, Word


class SttAdapter:
    """One client's: a live stream's events to messages, in the order in which they come. `exact`
    tells words as they are once they are closed, which only our own client expects."""

    _open: int
    _closing: bool

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._begin_words()

    def begin(self) -> Reply:
        """The stream has a place, or was begun anew."""
        self._begin_words()
        return Ready()

    def refuse(self) -> Reply:
        """There is no place."""
        return Error(NO_ROOM)

    def tell(self, event: events.Event, buffered: int = 0) -> list[Reply]:
        """The messages of an event of a live stream; `buffered` samples wait to be heard.

        A word is told when it was heard, and its end at the boundary that closes it: there what was
        heard since the last one may fall into other words, which end as one. Without extra heads
        there are no steps: clients take what they find in one for a pause.
        """
        match event:
            case events.Step(index, pauses) if pauses:
                return [Step(index, pauses, buffered)]
            case events.WordHeard(text, start):
                if self._closing:
                    self._begin_words()
                self._open += _letters(text)
                return [Word(text, start)]
            case events.Word(text, start, end) if self._exact:
                return [WholeWord(text, start, end)]
            case events.Word(text, _, end):
                self._closing = True
                self._open -= _letters(text)
                return [EndWord(end)] if self._open <= 0 else []
        return []

    def _begin_words(self) -> None:
        """No letter was heard since the last boundary."""
        self._open, self._closing = 0, False


def _letters(text: str) -> int:
    return len("".join(text.split()))
