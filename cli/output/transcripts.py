"""Transcripts: what is found in a recording, its formats, and the files that hold it."""

import heapq
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...models.events import Event, Pause, Word
from ...models.text.subtitles import srt, vtt
from ...runtime.errors import UsageError
from ...runtime.output_file import output_file, refused
from ..option_values import Format, Style

SUFFIXES = {Format.TEXT: ".txt"}
ENDINGS = {
    ".srt": Format.SRT,
    ".vtt": Format.VTT,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".tsv": Format.TSV,
    ".txt": Format.TEXT,
}
TABLE_HEAD = "start\tend\ttext"


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


def word_text(word: Word, timestamps: bool) -> str:
    """Return a word for the text format: alone, or with its times."""
    if not timestamps:
        return word.text
    return f"[{word.start:7.2f} -{word.end:7.2f}] {word.text}"


def pause_text(pause: Pause) -> str:
    """Return a pause for the text format."""
    return f"[pause at {pause.time:.2f} s]"


def render(transcript: Transcript, style: Style) -> str:
    """Format a transcript, without the line feed at its end."""
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
    """Yield words, and pauses among them by their times."""
    words = ((word.start, word_text(word, style.timestamps)) for word in transcript.words)
    pauses = ((pause.time, pause_text(pause)) for pause in transcript.pauses if style.pauses)
    return (text for _, text in heapq.merge(words, pauses, key=lambda part: part[0]))


def as_json(transcript: Transcript) -> dict[str, object]:
    """Return a transcript for JSON, times in seconds to a thousandth."""
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
    """Return the fields of an event, numbers to a thousandth."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(event).items()
    }


def out_path(out: Path | None, file: str, kind: Format, several: bool) -> Path | None:
    """Return the file to write for an input; None is standard output."""
    if out is None or str(out) == "-":
        return None
    if several or out.is_dir():
        stem = "stdin" if file == "-" else Path(file).stem
        return out / f"{stem}{SUFFIXES.get(kind, f'.{kind}')}"
    return out


def out_paths(out: Path | None, files: Sequence[str], kind: Format) -> list[Path | None]:
    """Return the files to write for all inputs."""
    return [out_path(out, file, kind, len(files) > 1) for file in files]


def check_out(out: Path | None, files: Sequence[str], kind: Format) -> None:
    """Raise UsageError if several inputs cannot be written to `out`."""
    if len(files) < 2:
        return
    if out is None or str(out) == "-":
        if kind in (Format.SRT, Format.VTT):
            raise UsageError(f"{kind} of several files needs a folder; give '-o FOLDER'")
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; several inputs need a folder: give '-o FOLDER'")
    paths = out_paths(out, files, kind)
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"two files would be written to {twice}; transcribe them one by one")


def write_file(path: Path, transcript: Transcript, style: Style) -> None:
    """Write a transcript; raises KyutaiOnnxError if the file cannot be written."""
    with refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as file:
        file.write((render(transcript, style) + "\n").encode("utf-8", "backslashreplace"))


def print_whole(transcript: Transcript, style: Style) -> None:
    """Print the transcript of the only input."""
    print(render(transcript, style), flush=True)


def print_one_of_several(transcript: Transcript, style: Style) -> None:
    """Print one transcript of several, with the name of its file."""
    if style.kind is Format.JSONL:
        print_whole(transcript, style)
    elif style.kind is Format.TSV:
        rows = render(transcript, style).splitlines()[1:]
        sys.stdout.writelines(f"{transcript.file}\t{row}\n" for row in rows)
    else:
        separator = "\n" if style.timestamps else " "
        print(f"{transcript.file}:{separator}{render(transcript, style)}", flush=True)


def print_head(kind: Format) -> None:
    """Print what comes before several transcripts."""
    if kind is Format.TSV:
        print(f"file\t{TABLE_HEAD}")


def print_array(transcripts: Sequence[Transcript]) -> None:
    """Print several transcripts as one JSON document."""
    print(json.dumps([as_json(t) for t in transcripts], ensure_ascii=False, indent=2), flush=True)


def format_of(path: Path) -> Format:
    """Return the format that an ending names; raises UsageError if it names none."""
    found = ENDINGS.get(path.suffix.lower())
    if found is None:
        said = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise UsageError(f"{path}: {said} names no format of words; use {', '.join(ENDINGS)}")
    return found


def write_words(path: Path, transcript: Transcript, kind: Format | None = None) -> None:
    """Write a transcript, by default in the format of the ending; text has times too."""
    write_file(path, transcript, Style(kind or format_of(path), timestamps=True))
