"""Text that a speaking model makes, shown as it comes: on stdout, or on stderr where the sound
itself goes to stdout."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ...models.events import Event, Text, Word
from ..choices import LiveFormat
from .formats import rounded
from .subtitles import SubtitleFile


class Caption:
    """Shows `Text` as it comes or, as lines of JSON, words too; `subtitles` names a file that grows
    with them. Where nobody reads any more it falls silent, and `unread` is True: the sound goes on.
    """

    def __init__(
        self,
        kind: LiveFormat = LiveFormat.TEXT,
        *,
        aside: bool = False,
        subtitles: Path | None = None,
    ) -> None:
        self._kind = kind
        self._subtitles = None if subtitles is None else SubtitleFile(subtitles)
        self._stream = sys.stderr if aside else sys.stdout
        self._begun = False
        self.unread = False

    @property
    def is_on_terminal(self) -> bool:
        """Whether the text shares a terminal with whatever else is shown."""
        return self._stream.isatty()

    def show(self, events: Iterable[Event]) -> None:
        """Shows what is text among the events."""
        events = list(events)
        if self._subtitles is not None:
            self._subtitles.add(events)
        for event in events:
            if self._kind is LiveFormat.JSONL:
                self._line(event)
            elif isinstance(event, Text):
                self._piece(event.text)

    def end(self) -> None:
        """Ends the line."""
        if self._kind is LiveFormat.TEXT:
            self._put("\n")

    def _line(self, event: Event) -> None:
        if isinstance(event, Text):
            content: dict[str, object] = {"type": "text", **asdict(event)}
        elif isinstance(event, Word):
            content = {"type": "word", **rounded(event)}
        else:
            return
        self._put(json.dumps(content, ensure_ascii=False) + "\n")

    def _piece(self, text: str) -> None:
        shown = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(shown)
        self._put(shown)

    def _put(self, text: str) -> None:
        if self.unread or not text:
            return
        try:
            print(text, end="", flush=True, file=self._stream)
        except BrokenPipeError:
            self.unread = True
