"""Plays a file into a stream at the pace at which it was spoken, and shows what comes out."""

import json
import math
from collections.abc import Iterable

from ..models import SpeechToText
from ..models.events import Event, Pause, Word
from ..models.speech_to_text_stream import SpeechToTextStream
from ..runtime.audio import read_audio
from ..runtime.state_file import read_state, write_state
from .choices import LiveFormat
from .formats import rounded
from .interpreting import Request
from .pace import Pace, frames
from .transcription import require_pauses


def listen(
    model: SpeechToText,
    request: Request,
    vad: bool,
    temperature: float | None,
    seed: int | None,
) -> None:
    """Shows words as they come; interrupted or broken off, what was heard so far is finished.

    The stream is saved where the file ends, before what it still has to say.
    """
    if vad:
        require_pauses(model)
    stream = model.stream(temperature=temperature, seed=seed)
    if request.load_state is not None:
        stream.load(read_state(request.load_state))
    screen = Screen(request.kind, vad)
    pace = Pace(model.frame_size / model.sample_rate / (request.rate or 1.0))
    with read_audio(request.audio, model.sample_rate, channel=request.channel) as blocks:
        try:
            for frame in pace.paced(frames(blocks, model.frame_size)):
                screen.show(stream.feed(frame), stream)
            if request.save_state is not None:
                write_state(request.save_state, stream.save())
        finally:
            screen.show(stream.flush(), stream)
            screen.end()
    pace.tell(quiet=request.quiet)


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
