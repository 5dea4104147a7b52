"""Words with their times in a file of their own, in the format that its ending names."""

from pathlib import Path

from ...runtime.errors import UsageError
from ..choices import Format, Style
from .formats import Transcript
from .transcripts import write_file

ENDINGS = {
    ".srt": Format.SRT,
    ".vtt": Format.VTT,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".tsv": Format.TSV,
    ".txt": Format.TEXT,
}


def format_of(path: Path) -> Format:
    """Raises UsageError for an ending that names no format."""
    found = ENDINGS.get(path.suffix.lower())
    if found is None:
        said = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise UsageError(f"{path}: {said} names no format of words; use {', '.join(ENDINGS)}")
    return found


def write_words(path: Path, transcript: Transcript, kind: Format | None = None) -> None:
    """Writes a transcript in a format, by default that of the ending; text has times too."""
    write_file(path, transcript, Style(kind or format_of(path), timestamps=True))
