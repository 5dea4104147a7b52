"""Plays a file into a stream at the pace at which it was spoken, and shows what comes out."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..models import SpeechToText
from ..models.events import Event, Pause, Word
from ..models.speech_to_text_stream import SpeechToTextStream
from ..runtime.audio import Framer, Pcm, read_audio
from .formats import LiveFormat, rounded
from .say import say
from .transcription import require_pauses


def listen(
    model: SpeechToText,
    file: str,
    *,
    kind: LiveFormat,
    vad: bool,
    rate: float,
    channel: int | None,
    temperature: float | None,
    seed: int | None,
    quiet: bool,
) -> None:
    """Shows words as they come; interrupted or broken off, what was heard so far is finished."""
    if vad:
        require_pauses(model)
    stream = model.stream(temperature=temperature, seed=seed)
    screen = Screen(kind, vad)
    pace = Pace(model.frame_size / model.sample_rate / rate)
    with read_audio(file, model.sample_rate, channel=channel) as blocks:
        try:
            for frame in _frames(blocks, model.frame_size):
                pace.wait()
                with pace.working():
                    screen.show(stream.feed(frame), stream)
        finally:
            screen.show(stream.flush(), stream)
            screen.end()
    if pace.most_behind > pace.seconds:
        say(f"note: up to {pace.most_behind:.2f} s behind the speaker", quiet=quiet)


def _frames(blocks: Iterable[Pcm], size: int) -> Iterator[Pcm]:
    framer = Framer(size)
    for block in blocks:
        yield from framer.push(block)
    rest = framer.waiting.copy()
    if len(rest):
        yield rest


class Pace:
    """Lets frames through one every `seconds`, and notes by how much work on them came to lag."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.most_behind = seconds, 0.0
        self.behind = 0.0
        self._due: float | None = None

    def wait(self) -> None:
        """Returns when the next frame has been spoken."""
        now = time.monotonic()
        self._due = (now if self._due is None else self._due) + self.seconds
        if self._due > now:
            time.sleep(self._due - now)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the work on a frame: what it takes beyond the frame's own time adds up."""
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        self.behind = max(0.0, self.behind + took - self.seconds)
        self.most_behind = max(self.most_behind, self.behind)


class Screen:
    """Words on standard output as soon as a token of them is there, or events as lines of JSON.

    Among words a pause waits until the text, which lags behind it, has come as far.
    """

    def __init__(self, kind: LiveFormat, vad: bool) -> None:
        self._kind, self._vad = kind, vad
        self._pauses: list[Pause] = []
        self._shown = ""
        self._begun = False

    def show(self, events: Iterable[Event], stream: SpeechToTextStream) -> None:
        for event in events:
            if self._kind is LiveFormat.JSONL:
                self._line(event)
            elif isinstance(event, Word):
                self._put_pauses(event.start)
                self._finish(event.text)
            elif isinstance(event, Pause) and self._vad:
                self._pauses.append(event)
        if self._kind is LiveFormat.TEXT:
            self._begin(stream.partial)
            self._put_pauses(stream.told_until)

    def end(self) -> None:
        if self._kind is LiveFormat.TEXT:
            self._put_pauses(math.inf)
            print(flush=True)

    def _line(self, event: Event) -> None:
        names = {"Word": "word", "Pause": "pause", "EndOfTurn": "end_of_turn"}
        content = {"type": names[type(event).__name__], **rounded(event)}
        print(json.dumps(content, ensure_ascii=False), flush=True)

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
        while self._pauses and self._pauses[0].time <= until:
            del self._pauses[0]
            self._put("[pause]", new=True)

    def _put(self, text: str, *, new: bool) -> None:
        if text:
            print(f"{' ' if new and self._begun else ''}{text}", end="", flush=True)
            self._begun = True
