"""Events of a stream, and the transcript of them.

Times are seconds of the audio that the stream read or made.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from ..runtime.audio import Pcm


@dataclass(frozen=True)
class Word:
    """A word, from `start` to `end`, to the millisecond.

    `confidence` is the probability of its tokens by the model, to a thousandth, whatever the
    temperature; None if it is not known, as that of spoken text. Words are equal without it.
    """

    text: str
    start: float
    end: float
    confidence: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class WordStarted:
    """A word as soon as its text is complete; its end is not known yet. `confidence` is that of the
    text since the last boundary."""

    text: str
    start: float
    confidence: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Step:
    """A frame was read: its number from 0, and the probability of a pause by each extra head."""

    index: int
    pauses: tuple[float, ...]


@dataclass(frozen=True)
class SpeechStarted:
    """Speech started at `time`, for the first time or after a pause."""

    time: float


@dataclass(frozen=True)
class Pause:
    """The model recognized a pause of the speaker, at `time` and with this probability."""

    time: float
    probability: float


@dataclass(frozen=True)
class EndOfTurn:
    """The speaker finished: a pause that started at `time` has lasted."""

    time: float


@dataclass(frozen=True)
class Restart:
    """The model had stalled and was restarted at `time`; times continue."""

    time: float


@dataclass(frozen=True)
class Text:
    """A piece of text: a part of a word, with the spaces around it."""

    text: str


@dataclass(frozen=True, eq=False)
class Audio:
    """Speech: samples `[n]` at the model's sample rate."""

    pcm: Pcm

    def __repr__(self) -> str:
        return f"Audio({len(self.pcm)} samples)"


def to_millisecond(seconds: float) -> float:
    """Seconds as the times of words give them."""
    return round(seconds, 3)


Event = Word | WordStarted | Step | SpeechStarted | Pause | EndOfTurn | Restart | Text | Audio


def ended_by(event: Event, seconds: float) -> Event:
    """Limit the times of an event to so many seconds of audio."""
    if isinstance(event, Word):
        last = to_millisecond(seconds)
        return replace(event, start=min(event.start, last), end=min(event.end, last))
    if isinstance(event, SpeechStarted | Pause | EndOfTurn):
        return replace(event, time=min(event.time, seconds))
    return event


@dataclass
class Transcript:
    """What was found in one file; `error` is why it ends early, if it does."""

    file: str
    model: str
    precision: str
    words: list[Word] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    duration: float = 0.0
    error: str | None = None

    def add(self, events: Iterable[Event]) -> list[Word]:
        """Add the words and pauses among events; returns the words."""
        events = list(events)
        words = [event for event in events if isinstance(event, Word)]
        self.words += words
        self.pauses += [event for event in events if isinstance(event, Pause)]
        return words

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def words_and_pauses(self) -> list[Word | Pause]:
        """Each pause before the word that follows it."""
        return [*self.pauses, *self.words]


def rounded(event: Event) -> dict[str, object]:
    """Return the fields of an event that are known, numbers to a thousandth."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(event).items()
        if value is not None
    }
