"""Formats of transcripts: a class each, which writes one transcript, or several as one text."""

import heapq
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...models.events import Pause, Transcript, Word, rounded
from ...models.text.subtitles import (
    DEFAULT_LAYOUT,
    SRT,
    VTT,
    Cue,
    CueLayout,
    SubtitleFormat,
    cues,
)
from ...runtime.errors import UsageError
from ..option_values import Format
from .html_page import page


@dataclass(frozen=True)
class Style:
    """The format of a transcript and, as far as it has them, times of words, pauses and cues."""

    kind: Format = Format.TEXT
    timestamps: bool = False
    pauses: bool = False
    layout: CueLayout = DEFAULT_LAYOUT
    folder: Path = Path()
    """The folder of the file that is written, from which it names others."""

    @property
    def format(self) -> "TranscriptFormat":
        return FORMATS[self.kind]

    def check(self) -> None:
        """Raise UsageError for the layout of cues in a format that has none."""
        if self.layout != DEFAULT_LAYOUT and not self.format.has_cues:
            kinds = ", ".join(kind for kind, each in FORMATS.items() if each.has_cues)
            raise UsageError(
                f"--max-line-width, --max-lines, --max-words and --highlight are for {kinds}, not "
                f"for {self.kind}"
            )


class TranscriptFormat(ABC):
    """A format of transcripts, and the ending of its files."""

    ending: str

    has_cues = False
    """Whether it has cues, whose layout can be chosen."""

    word_layout = DEFAULT_LAYOUT
    """How cues are laid out if the times of words are asked for."""

    holds_spoken_words = True
    """Whether it is for the words of speech that is being made, too."""

    holds_several = True
    """Whether several transcripts make one text: its head, each of them, and its tail."""

    @abstractmethod
    def render(self, transcript: Transcript, style: Style) -> str:
        """Return a whole file, without the line feed at its end."""

    def document(self, transcript: Transcript, style: Style) -> str:
        """Return a whole file, which is empty if there is nothing to write."""
        content = self.render(transcript, style)
        return f"{content}\n" if content else ""

    def head_of_several(self) -> str:
        """Return what comes before several transcripts."""
        return ""

    def one_of_several(self, transcript: Transcript, style: Style) -> str:
        """Return one transcript of several."""
        return self.document(transcript, style)

    def tail_of_several(self, transcripts: Sequence[Transcript], style: Style) -> str:  # noqa: ARG002
        """Return what comes after several transcripts."""
        return ""


class TextFormat(TranscriptFormat):
    """The words in a line or, with their times, a line each."""

    ending = ".txt"

    def render(self, transcript: Transcript, style: Style) -> str:
        words = ((word.start, word_text(word, style)) for word in transcript.words)
        pauses = ((pause.time, pause_text(pause)) for pause in transcript.pauses if style.pauses)
        parts = heapq.merge(words, pauses, key=lambda part: part[0])
        return ("\n" if style.timestamps else " ").join(text for _, text in parts)

    def one_of_several(self, transcript: Transcript, style: Style) -> str:
        content = self.render(transcript, style)
        separator = ("\n" if style.timestamps else " ") if content else ""
        return f"{transcript.file}:{separator}{content}\n"


class JsonFormat(TranscriptFormat):
    """An object (docs/transcript.schema.json); of several transcripts an array of objects."""

    ending = ".json"

    def render(self, transcript: Transcript, style: Style) -> str:  # noqa: ARG002
        return json.dumps(_content(transcript), ensure_ascii=False, indent=2)

    def one_of_several(self, transcript: Transcript, style: Style) -> str:  # noqa: ARG002
        return ""

    def tail_of_several(self, transcripts: Sequence[Transcript], style: Style) -> str:  # noqa: ARG002
        whole = [_content(each) for each in transcripts]
        return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


class JsonLinesFormat(TranscriptFormat):
    """The same object in a line for each transcript."""

    ending = ".jsonl"

    def render(self, transcript: Transcript, style: Style) -> str:  # noqa: ARG002
        return json.dumps(_content(transcript), ensure_ascii=False)


class TsvFormat(TranscriptFormat):
    """The table that Whisper writes: start and end of each segment in milliseconds, and its text;
    of several transcripts with the name of the file before."""

    ending = ".tsv"
    has_cues = True
    word_layout = CueLayout(words=1)

    def render(self, transcript: Transcript, style: Style) -> str:
        return "\n".join(["start\tend\ttext", *self._rows(transcript, style)])

    def head_of_several(self) -> str:
        return "file\tstart\tend\ttext\n"

    def one_of_several(self, transcript: Transcript, style: Style) -> str:
        rows = self._rows(transcript, style)
        return "".join(f"{transcript.file}\t{row}\n" for row in rows)

    @staticmethod
    def _rows(transcript: Transcript, style: Style) -> Iterable[str]:
        for cue in cues(transcript.words_and_pauses, style.layout):
            start, end = (round(1000 * seconds) for seconds in _span(cue))
            yield f"{start}\t{end}\t{cue.text}".replace("\n", " ")


class CueFormat(TranscriptFormat):
    """Subtitles in SubRip or WebVTT."""

    has_cues = True
    holds_several = False

    def __init__(self, subtitles: SubtitleFormat, ending: str) -> None:
        self.ending, self._subtitles = ending, subtitles

    def render(self, transcript: Transcript, style: Style) -> str:
        return self._subtitles.document(transcript.words_and_pauses, style.layout).rstrip("\n")


class HtmlFormat(TranscriptFormat):
    """A page with the player of the recording."""

    ending = ".html"
    holds_spoken_words = False
    holds_several = False

    def render(self, transcript: Transcript, style: Style) -> str:
        return page(transcript, style.folder)


FORMATS: dict[Format, TranscriptFormat] = {
    Format.TEXT: TextFormat(),
    Format.JSON: JsonFormat(),
    Format.JSONL: JsonLinesFormat(),
    Format.SRT: CueFormat(SRT, ".srt"),
    Format.VTT: CueFormat(VTT, ".vtt"),
    Format.TSV: TsvFormat(),
    Format.HTML: HtmlFormat(),
}


def ending_format(path: Path) -> Format | None:
    """Return the format that the ending of a file names, if it names one."""
    ending = path.suffix.lower()
    return next((kind for kind, each in FORMATS.items() if each.ending == ending), None)


def known_endings(*, spoken: bool = False) -> str:
    """Return the endings that name a format, or one for spoken words, for messages."""
    formats = (each for each in FORMATS.values() if each.holds_spoken_words or not spoken)
    return ", ".join(each.ending for each in formats)


def word_text(word: Word, style: Style) -> str:
    """Return a word for the text format: alone, or with its times."""
    if not style.timestamps:
        return word.text
    return f"[{word.start:7.2f} -{word.end:7.2f}] {word.text}"


def pause_text(pause: Pause) -> str:
    """Return a pause for the text format."""
    return f"[pause at {pause.time:.2f} s]"


def _content(transcript: Transcript) -> dict[str, object]:
    """Return a transcript for JSON, times in seconds to a thousandth."""
    content: dict[str, object] = {
        "file": transcript.file,
        "text": transcript.text,
        "segments": [
            _segment(index, cue) for index, cue in enumerate(cues(transcript.words_and_pauses))
        ],
        "words": [rounded(word) for word in transcript.words],
        "pauses": [rounded(pause) for pause in transcript.pauses],
        "duration": round(transcript.duration, 3),
        "model": transcript.model,
        "precision": transcript.precision,
    }
    return content if transcript.error is None else content | {"error": transcript.error}


def _segment(index: int, cue: Cue) -> dict[str, object]:
    start, end = _span(cue)
    return {"id": index, "start": round(start, 3), "end": round(end, 3), "text": cue.text}


def _span(cue: Cue) -> tuple[float, float]:
    """Return the times of the words of a cue: the cue itself may be shown for longer."""
    return cue.words[0].start, cue.words[-1].end
