"""What a stream tells as it goes. Times are seconds of the audio that was fed or made."""

from dataclasses import dataclass, replace

from ..runtime.audio import Pcm


@dataclass(frozen=True)
class Word:
    """A word, from `start` to `end`, to the millisecond."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class WordHeard:
    """A word as soon as it is known to be whole, which is before its end is."""

    text: str
    start: float


@dataclass(frozen=True)
class Step:
    """A frame was heard: its number from 0, and what each of the extra heads takes the probability
    of a pause to be."""

    index: int
    pauses: tuple[float, ...]


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody speaks, for the first time or after a pause, since `time`."""

    time: float


@dataclass(frozen=True)
class Pause:
    """The moment at which the model takes the speaker to have paused, and how sure it is."""

    time: float
    probability: float


@dataclass(frozen=True)
class EndOfTurn:
    """A pause that lasted: the speaker is done. `time` is when the pause began."""

    time: float


@dataclass(frozen=True)
class Restart:
    """The model had stalled and was begun anew; times go on."""

    time: float


@dataclass(frozen=True)
class Text:
    """A piece of text as it comes: a part of a word, with the spaces around it."""

    text: str


@dataclass(frozen=True, eq=False)
class Audio:
    """Speech: float32 `[n]` at the model's sample rate."""

    pcm: Pcm

    def __repr__(self) -> str:
        return f"Audio({len(self.pcm)} samples)"


def to_millisecond(seconds: float) -> float:
    """Seconds as the times of words give them."""
    return round(seconds, 3)


Event = Word | WordHeard | Step | SpeechStarted | Pause | EndOfTurn | Restart | Text | Audio


def ended_by(event: Event, seconds: float) -> Event:
    """An event whose times lie in so many seconds of audio."""
    if isinstance(event, Word):
        last = to_millisecond(seconds)
        return replace(event, start=min(event.start, last), end=min(event.end, last))
    if isinstance(event, SpeechStarted | Pause | EndOfTurn):
        return replace(event, time=min(event.time, seconds))
    return event
