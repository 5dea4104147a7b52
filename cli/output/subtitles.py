"""Subtitles that grow in a file, for a player or OBS that reads it again and again.

The file is replaced as a whole, so that nobody reads half of it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ...models.events import Event, Word
from ...models.text.subtitles import BLOCKS, HEADS, breaks, cue_of
from ...runtime.errors import KyutaiOnnxError, UsageError
from ...runtime.output_file import output_file


def check_ending(path: Path) -> None:
    """Raise UsageError for an ending that is not of subtitles."""
    if path.suffix.lower() not in BLOCKS:
        raise UsageError(f"{path}: live subtitles are {' or '.join(BLOCKS)}")


class SubtitleFile:
    """A .srt or .vtt file that grows with words.

    Raises UsageError for another ending, KyutaiOnnxError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        check_ending(path)
        ending = path.suffix.lower()
        self._path, self._block = path, BLOCKS[ending]
        self._done = bytearray(HEADS[ending].encode())
        self._number = 1
        self._open: list[Word] = []
        self._write()

    def add(self, events: Iterable[Event]) -> None:
        """Write the words among the events."""
        words = [event for event in events if isinstance(event, Word)]
        for word in words:
            if self._open and breaks(self._open, word):
                self._done += self._last()
                self._number += 1
                self._open = []
            self._open.append(word)
        if words:
            self._write()

    def _last(self) -> bytes:
        """Return the open cue, after the empty line that separates it from the one before."""
        if not self._open:
            return b""
        block = self._block(self._number, cue_of(self._open))
        return (b"\n" if self._done else b"") + block.encode("utf-8", "backslashreplace")

    def _write(self) -> None:
        try:
            with output_file(self._path, sync=False) as file:
                file.write(self._done + self._last())
        except KyutaiOnnxError as error:
            if os.name != "nt" or not isinstance(error.__context__, PermissionError):
                raise  # Windows refuses while somebody reads: the next word brings this one too
