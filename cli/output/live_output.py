"""Words on their way to a reader: a terminal, a pipe, or a program that reads lines of JSON."""

import json
import math
import shutil
import sys
from collections.abc import Iterable
from typing import Protocol

from ...models.events import EndOfTurn, Event, Pause, Word
from ..choices import LiveFormat
from .formats import rounded

NAMES = {
    "Word": "word",
    "SpeechStarted": "speech_started",
    "Pause": "pause",
    "EndOfTurn": "end_of_turn",
    "Restart": "restart",
}
PAUSE = "[pause]"


class Hearing(Protocol):
    """What a screen asks a stream of speech to text for."""

    @property
    def partial(self) -> str:
        """The word that is not yet closed."""

    @property
    def told_until(self) -> float:
        """Seconds up to which words were told."""


class Screen(Protocol):
    """Shows what a stream told."""

    def show(self, events: Iterable[Event], stream: Hearing) -> None:
        """Shows more, `stream` being as it is after it told these events."""

    def end(self) -> None:
        """Shows what was held back, and ends the line."""


def open_screen(kind: LiveFormat, *, vad: bool) -> Screen:
    """The screen for standard output as it is; `vad` shows pauses, which JSON always has."""
    if kind is LiveFormat.JSONL:
        return Lines()
    return LiveLine(vad=vad) if sys.stdout.isatty() else Tape(vad=vad)


class Lines:
    """An event a line, as JSON."""

    def show(self, events: Iterable[Event], stream: Hearing) -> None:  # noqa: ARG002
        """See `Screen.show`."""
        for event in events:
            line({"type": NAMES[type(event).__name__], **rounded(event)})

    def end(self) -> None:
        """See `Screen.end`."""


def line(content: dict[str, object]) -> None:
    """One object as a line of JSON."""
    print(json.dumps(content, ensure_ascii=False), flush=True)


class Pauses:
    """Pauses and ends of turns that wait until the text, which lags behind, has come as far."""

    def __init__(self, *, vad: bool) -> None:
        self._vad = vad
        self._waiting: list[Pause | EndOfTurn] = []

    def add(self, event: Event) -> None:
        if self._vad and isinstance(event, Pause | EndOfTurn):
            self._waiting.append(event)

    def until(self, time: float) -> Iterable[Pause | EndOfTurn]:
        """Those that belong before a word of that time."""
        while self._waiting and self._waiting[0].time <= time:
            yield self._waiting.pop(0)


class Tape:
    """Words on a line as soon as a token of them is there; the end of a turn ends the line."""

    def __init__(self, *, vad: bool) -> None:
        self._pauses = Pauses(vad=vad)
        self._shown = ""
        self._begun = self._ended = False

    def show(self, events: Iterable[Event], stream: Hearing) -> None:
        """See `Screen.show`."""
        for event in events:
            self._pauses.add(event)
            if isinstance(event, Word):
                self._put_pauses(event.start)
                self._finish(event.text)
        self._begin(stream.partial)
        self._put_pauses(stream.told_until)

    def end(self) -> None:
        """See `Screen.end`."""
        self._put_pauses(math.inf)
        if self._begun or not self._ended:
            print(flush=True)

    def _begin(self, partial: str) -> None:
        """Shows the rest of a word that is growing, but half a character not before the whole."""
        partial = partial.rstrip("\N{REPLACEMENT CHARACTER}")
        if partial.startswith(self._shown):
            self._put(partial[len(self._shown) :], new=not self._shown)
            self._shown = partial

    def _finish(self, text: str) -> None:
        """Shows what is missing of a word that is complete."""
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


class LiveLine:
    """A terminal's last line, written anew with every word, the one that is growing at its end;
    when it is full, or a turn ends, the next one begins."""

    def __init__(self, *, vad: bool) -> None:
        self._pauses = Pauses(vad=vad)
        self._settled = self._drawn = ""
        self._ended = False

    def show(self, events: Iterable[Event], stream: Hearing) -> None:
        """See `Screen.show`."""
        for event in events:
            self._pauses.add(event)
            if isinstance(event, Word):
                self._settle_pauses(event.start)
                self._settle(event.text)
        self._settle_pauses(stream.told_until)
        self._draw(stream.partial.rstrip("\N{REPLACEMENT CHARACTER}"))

    def end(self) -> None:
        """See `Screen.end`."""
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
