"""Live text for a terminal, a pipe, or a program that reads lines of JSON."""

import json
import math
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from ...models.events import EndOfTurn, Event, Pause, Text, Word, rounded
from ..option_values import LiveFormat
from .subtitles import SubtitleFile

NAMES = {
    "Word": "word",
    "SpeechStarted": "speech_started",
    "Pause": "pause",
    "EndOfTurn": "end_of_turn",
    "Restart": "restart",
}
PAUSE = "[pause]"


class Transcribing(Protocol):
    """What a renderer asks a stream of speech to text for."""

    @property
    def partial(self) -> str:
        """The word that is still growing."""

    @property
    def processed_until(self) -> float:
        """Seconds up to which all words were reported."""


class Renderer(Protocol):
    """Prints the events of a stream."""

    def show(self, events: Iterable[Event], stream: Transcribing) -> None:
        """Print events; `stream` is in the state after them."""

    def end(self) -> None:
        """Print what was held back, and end the line."""


def open_renderer(kind: LiveFormat, *, vad: bool) -> Renderer:
    """Return the renderer for standard output; `vad` shows pauses, which JSON always has."""
    if kind is LiveFormat.JSONL:
        return JsonRenderer()
    return TerminalRenderer(vad=vad) if sys.stdout.isatty() else PlainRenderer(vad=vad)


class JsonRenderer:
    """Prints one JSON object per event."""

    def show(self, events: Iterable[Event], stream: Transcribing) -> None:  # noqa: ARG002
        """See `Renderer.show`."""
        for event in events:
            line({"type": NAMES[type(event).__name__], **rounded(event)})

    def end(self) -> None:
        """See `Renderer.end`."""


def line(content: dict[str, object]) -> None:
    """Print an object as a line of JSON."""
    print(json.dumps(content, ensure_ascii=False), flush=True)


class Pauses:
    """Pauses and ends of turns, held until the text, which lags behind, has come as far."""

    def __init__(self, *, vad: bool) -> None:
        self._vad = vad
        self._waiting: list[Pause | EndOfTurn] = []

    def add(self, event: Event) -> None:
        if self._vad and isinstance(event, Pause | EndOfTurn):
            self._waiting.append(event)

    def until(self, time: float) -> Iterable[Pause | EndOfTurn]:
        """Yield those that belong before a word of that time."""
        while self._waiting and self._waiting[0].time <= time:
            yield self._waiting.pop(0)


class PlainRenderer:
    """Prints words as soon as their first token is there; the end of a turn ends the line."""

    def __init__(self, *, vad: bool) -> None:
        self._pauses = Pauses(vad=vad)
        self._shown = ""
        self._begun = self._ended = False

    def show(self, events: Iterable[Event], stream: Transcribing) -> None:
        """See `Renderer.show`."""
        for event in events:
            self._pauses.add(event)
            if isinstance(event, Word):
                self._put_pauses(event.start)
                self._finish(event.text)
        self._begin(stream.partial)
        self._put_pauses(stream.processed_until)

    def end(self) -> None:
        """See `Renderer.end`."""
        self._put_pauses(math.inf)
        if self._begun or not self._ended:
            print(flush=True)

    def _begin(self, partial: str) -> None:
        """Print the rest of a growing word, without an incomplete character."""
        partial = partial.rstrip("\N{REPLACEMENT CHARACTER}")
        if partial.startswith(self._shown):
            self._put(partial[len(self._shown) :], new=not self._shown)
            self._shown = partial

    def _finish(self, text: str) -> None:
        """Print what is missing of a complete word."""
        if self._shown.startswith(text):
            self._shown = self._shown[len(text) :].lstrip()
            return
        grew = bool(self._shown) and text.startswith(self._shown)
        self._put(text[len(self._shown) :] if grew else text, new=not grew)
        self._shown = ""

    def _put_pauses(self, until: float) -> None:
        for event in self._pauses.until(until):
            if isinstance(event, Pause):
                self._put(PAUSE, new=True)
            elif self._begun and until < math.inf:
                print(flush=True)
                self._begun, self._ended = False, True

    def _put(self, text: str, *, new: bool) -> None:
        if text:
            print(f"{' ' if new and self._begun else ''}{text}", end="", flush=True)
            self._begun = True


class TerminalRenderer:
    """Rewrites the last line of a terminal with every word, the growing one at its end.

    When the line is full, or a turn ends, the next line starts.
    """

    def __init__(self, *, vad: bool) -> None:
        self._pauses = Pauses(vad=vad)
        self._settled = self._drawn = ""
        self._ended = False

    def show(self, events: Iterable[Event], stream: Transcribing) -> None:
        """See `Renderer.show`."""
        for event in events:
            self._pauses.add(event)
            if isinstance(event, Word):
                self._settle_pauses(event.start)
                self._settle(event.text)
        self._settle_pauses(stream.processed_until)
        self._draw(stream.partial.rstrip("\N{REPLACEMENT CHARACTER}"))

    def end(self) -> None:
        """See `Renderer.end`."""
        self._settle_pauses(math.inf)
        self._draw("")
        if self._settled or not self._ended:
            print(flush=True)

    def _settle_pauses(self, until: float) -> None:
        for event in self._pauses.until(until):
            if isinstance(event, Pause):
                self._settle(PAUSE)
            elif until < math.inf:
                self._next_line()

    def _settle(self, text: str) -> None:
        if self._settled and len(self._settled) + 1 + len(text) > _width():
            self._next_line()
        self._settled += f" {text}" if self._settled else text

    def _next_line(self) -> None:
        if self._settled:
            self._draw("")
            print(flush=True)
            self._settled = self._drawn = ""
            self._ended = True

    def _draw(self, partial: str) -> None:
        text = f"{self._settled} {partial}".strip()[-_width() :]
        if text != self._drawn:
            print(f"\r{text}\x1b[K", end="", flush=True)
            self._drawn = text


def _width() -> int:
    return max(20, shutil.get_terminal_size().columns - 1)


class Caption:
    """Prints `Text` as it comes or, as lines of JSON, words too.

    `subtitles` names a file that grows with the words. If the reader of the text has gone, nothing
    more is printed and `unread` is True: speech goes on.
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
        """Whether the text shares a terminal with other output."""
        return self._stream.isatty()

    def show(self, events: Iterable[Event]) -> None:
        """Print the text among the events."""
        events = list(events)
        if self._subtitles is not None:
            self._subtitles.add(events)
        for event in events:
            if self._kind is LiveFormat.JSONL:
                self._line(event)
            elif isinstance(event, Text):
                self._piece(event.text)

    def end(self) -> None:
        """End the line."""
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
