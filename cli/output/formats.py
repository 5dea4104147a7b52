"""A transcript in each format that `transcribe` writes."""

import heapq
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from ...models.events import Event, Pause, Word
from ...models.text.subtitles import srt, vtt
from ..choices import Format, Style

SUFFIXES = {Format.TEXT: ".txt"}
TABLE_HEAD = "start\tend\ttext"


@dataclass
class Transcript:
    """What was found in one file; `error` says why it ends early, if it does."""

    file: str
    model: str
    precision: str
    words: list[Word] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    duration: float = 0.0
    error: str | None = None

    def add(self, events: Iterable[Event]) -> list[Word]:
        """Files events away and returns the words among them."""
        events = list(events)
        words = [event for event in events if isinstance(event, Word)]
        self.words += words
        self.pauses += [event for event in events if isinstance(event, Pause)]
        return words

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def word_text(word: Word, timestamps: bool) -> str:
    """A word as the text format has it: alone, or on a line with its times."""
    if not timestamps:
        return word.text
    return f"[{word.start:7.2f} -{word.end:7.2f}] {word.text}"


def pause_text(pause: Pause) -> str:
    """A pause as the text format has it."""
    return f"[pause at {pause.time:.2f} s]"


def render(transcript: Transcript, style: Style) -> str:
    """A whole transcript, without the line feed at its end."""
    kind = style.kind
    if kind is Format.TEXT:
        return ("\n" if style.timestamps else " ").join(_text_parts(transcript, style))
    if kind is Format.SRT:
        return srt(transcript.words).rstrip("\n")
    if kind is Format.VTT:
        return vtt(transcript.words).rstrip("\n")
    if kind is Format.TSV:
        rows = [f"{w.start:.3f}\t{w.end:.3f}\t{w.text}" for w in transcript.words]
        return "\n".join([TABLE_HEAD, *rows])
    return json.dumps(
        as_json(transcript), ensure_ascii=False, indent=2 if kind is Format.JSON else None
    )


def _text_parts(transcript: Transcript, style: Style) -> Iterable[str]:
    """Words, and pauses among them by their times."""
    words = ((word.start, word_text(word, style.timestamps)) for word in transcript.words)
    pauses = ((pause.time, pause_text(pause)) for pause in transcript.pauses if style.pauses)
    return (text for _, text in heapq.merge(words, pauses, key=lambda part: part[0]))


def as_json(transcript: Transcript) -> dict[str, object]:
    """Times in seconds, to a thousandth."""
    content: dict[str, object] = {
        "file": transcript.file,
        "text": transcript.text,
        "words": [rounded(word) for word in transcript.words],
        "pauses": [rounded(pause) for pause in transcript.pauses],
        "duration": round(transcript.duration, 3),
        "model": transcript.model,
        "precision": transcript.precision,
    }
    return content if transcript.error is None else content | {"error": transcript.error}


def rounded(event: Event) -> dict[str, object]:
    """An event's fields, its numbers to a thousandth."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(event).items()
    }
