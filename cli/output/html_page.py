"""A transcript as a page: one file, with the recording's player, that asks no network."""

import base64
import os
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...models.events import Transcript, Word
from ...models.text.subtitles import PAUSE_SECONDS, cues, rest_between, spoken_end

EMBEDDED_BYTES = 20_000_000
"""A recording up to this size is put into the page; a larger one is played from its own file."""

_MEDIA = {
    ".wav": "audio/wav",
    ".wave": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
"""What browsers play, by the ending of the file."""

_PARAGRAPH_WORDS = 60
"""Words after which a paragraph ends with the next sentence or subtitle."""


def page(transcript: Transcript, folder: Path) -> str:
    """Return the page of a transcript, for a file in `folder`."""
    parts = {
        "title": escape("standard input" if transcript.file == "-" else Path(transcript.file).name),
        "player": _player(transcript.file, folder),
        "body": "\n".join(_body(transcript)),
        "about": escape(
            f"{_clock(transcript.duration)} of audio, transcribed by {transcript.model} "
            f"({transcript.precision}). The stronger a word is shaded, the less certain it is."
        ),
    }
    template = Path(__file__).with_name("transcript.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template).rstrip("\n")


def _player(file: str, folder: Path) -> str:
    path = Path(file)
    if file == "-" or not path.is_file():
        return ""
    media = _MEDIA.get(path.suffix.lower())
    if media is not None and path.stat().st_size <= EMBEDDED_BYTES:
        source = f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"
    else:
        source = _relative(path, folder)
    return f'<audio controls preload="auto" src="{escape(source)}"></audio>'


def _relative(path: Path, folder: Path) -> str:
    """Return the address of a file for a page in a folder."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # on another drive of Windows
        return path.resolve().as_uri()


def _body(transcript: Transcript) -> Iterator[str]:
    """Yield paragraphs, and the pauses between them."""
    paragraph: list[Word] = []
    for cue in cues(transcript.words_and_pauses):
        rest = rest_between(paragraph[-1], cue.words[0]) if paragraph else 0.0
        if rest > PAUSE_SECONDS or len(paragraph) >= _PARAGRAPH_WORDS:
            yield _paragraph(paragraph, transcript)
            paragraph = []
        if rest > PAUSE_SECONDS:
            yield f'<p class="pause">pause of {rest:.1f} s</p>'
        paragraph += cue.words
    if paragraph:
        yield _paragraph(paragraph, transcript)
    if transcript.error is not None:
        yield f'<p class="error">The transcript ends here: {escape(transcript.error)}</p>'


def _paragraph(words: list[Word], transcript: Transcript) -> str:
    marks = [pause.time for pause in transcript.pauses if pause.time > words[0].start]
    shown: list[str] = []
    for word in words:
        while marks and marks[0] <= word.start:
            shown.append(f'<span class="pause" title="pause at {marks.pop(0):.2f} s">‖</span>')
        shown.append(_word(word))
    start = words[0].start
    button = f'<button data-s="{start:.3f}">{_clock(start)}</button>'
    return f"<section>{button}<p>{' '.join(shown)}</p></section>"


def _word(word: Word) -> str:
    shade = "" if word.confidence is None else f' style="--c:{word.confidence:.3g}"'
    times = f'data-s="{word.start:.3f}" data-e="{spoken_end(word):.3f}"'
    return f'<span class="w" {times}{shade}>{escape(word.text)}</span>'


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
