"""Subtitles that grow in a file, for a player or OBS that reads it again and again.

The file is replaced as a whole, so that nobody reads half of it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ...models.events import Event, Pause, Word
from ...models.text.subtitles import SRT, VTT, Cue, CueMaker
from ...runtime.errors import KyutaiOnnxError, UsageError
from ...runtime.output_file import output_file

FORMATS = {".srt": SRT, ".vtt": VTT}


def check_ending(path: Path) -> None:
    """Raise UsageError for an ending that is not of subtitles."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: live subtitles are {' or '.join(FORMATS)}")


class SubtitleFile:
    """A .srt or .vtt file that grows with words.

    Raises UsageError for another ending, KyutaiOnnxError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        check_ending(path)
        self._path, self._format = path, FORMATS[path.suffix.lower()]
        self._settled = bytearray(self._format.head.encode())
        self._number = 1
        self._cues = CueMaker()
        self._write()

    def add(self, events: Iterable[Event]) -> None:
        """Write the words among the events."""
        timed = [event for event in events if isinstance(event, Word | Pause)]
        for event in timed:
            settled = self._cues.push(event)
            self._settled += self._blocks(settled, begins=not self._settled)
            self._number += len(settled)
        if timed:
            self._write()

    def _blocks(self, cues: Iterable[Cue], *, begins: bool) -> bytes:
        """Return cues, each after an empty line unless the file begins with it."""
        blocks = [self._format.block(number, cue) for number, cue in enumerate(cues, self._number)]
        text = "".join(f"\n{block}" for block in blocks)
        return text[begins and bool(text) :].encode("utf-8", "backslashreplace")

    def _write(self) -> None:
        try:
            with output_file(self._path, sync=False) as file:
                file.write(self._settled + self._blocks(self._cues.open, begins=not self._settled))
        except KyutaiOnnxError as error:
            if os.name != "nt" or not isinstance(error.__context__, PermissionError):
                raise  # Windows refuses while somebody reads: the next word brings this one too
