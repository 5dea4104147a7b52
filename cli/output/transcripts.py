"""Transcripts: what is found in one recording."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from ...models.events import Event, Pause, Word


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


def rounded(event: Event) -> dict[str, object]:
    """Return the fields of an event that are known, numbers to a thousandth."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(event).items()
        if value is not None
    }
