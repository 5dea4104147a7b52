"""What a listening stream tells as it goes. Times are seconds of the audio that was fed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word, from `start` to `end`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Pause:
    """The moment at which the model takes the speaker to have paused, and how sure it is."""

    time: float
    probability: float


@dataclass(frozen=True)
class EndOfTurn:
    """A pause that lasted: the speaker is done. `time` is when the pause began."""

    time: float


Event = Word | Pause | EndOfTurn
