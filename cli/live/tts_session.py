"""Says a text to the speaker as it comes: a pipe as one speech, a terminal line by line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from ...models.tts.speech_options import SpeechKwargs
from ...models.tts.stream import TextToSpeechStream
from ...runtime.errors import KyutaiOnnxError, UsageError
from .. import synthesis
from ..messages import say, say_error
from ..output import words_file
from ..shapes import Speaking, SpeakingStream
from ..text_input import read_text
from ..ticking import ticking
from .live_audio import LiveAudio
from .request import LiveRequest

TICK_SECONDS = 0.08


def speak(
    model: Speaking, live: LiveRequest, voices: tuple[str, ...], **given: Unpack[SpeechKwargs]
) -> None:
    """Says standard input, or a text file, until it ends."""
    by_line = live.input_file is None and sys.stdin is not None and sys.stdin.isatty()
    if live.words is not None:
        words_file.format_of(live.words)
        if by_line:
            raise UsageError("--words is for one text: give it by a pipe or by '--input-file'")
    manner = synthesis.manner(model, quiet=live.quiet, **given)
    voices = synthesis.chosen_voices(model, voices, quiet=live.quiet)
    stream = model.stream(voices, **manner)
    with LiveAudio(live, model.sample_rate, model.frame_size, hears=False) as stage:
        if by_line:
            _speak_lines(stream, live, stage)
        else:
            pieces = synthesis.after_the_first_word(_text(live.input_file))
            if isinstance(stream, TextToSpeechStream):
                _speak_one(stream, live, stage, _resting(pieces, stage))
            else:
                _speak_one(stream, live, stage, _ticking(pieces, stage, stream))


def _speak_one(
    stream: SpeakingStream, live: LiveRequest, stage: LiveAudio, pieces: Iterator[str]
) -> None:
    stage.meter.note_text()
    request = synthesis.Request(words=live.words, quiet=live.quiet)
    primed = list(stream.run())
    session = synthesis.Session(stream, request, stage.play)
    try:
        session.run(primed, pieces)
    finally:
        session.end(None)


def _speak_lines(stream: SpeakingStream, live: LiveRequest, stage: LiveAudio) -> None:
    """A line is a text of its own; one that cannot be said is told, and the next may be better."""
    say("type a line to hear it; Ctrl-D ends", quiet=live.quiet)
    for line in read_text():
        if line.strip():
            try:
                _speak_one(stream, live, stage, iter([line]))
            except UsageError as error:
                say_error(error)
            stage.rest()
            stream.reset()


def _resting(pieces: Iterator[str], stage: LiveAudio) -> Iterator[str]:
    """The pieces; while the next one is waited for, silence is right."""
    for piece in pieces:
        yield piece
        stage.rest()


def _ticking(pieces: Iterator[str], stage: LiveAudio, stream: SpeakingStream) -> Iterator[str]:
    """The pieces and, while the next one is waited for, empty ones, by which what a server has said
    meanwhile is played."""
    for piece in ticking(pieces, TICK_SECONDS):
        yield piece
        if not stream.waiting:
            stage.rest()


def _text(name: str | None) -> Iterator[str]:
    if name is None or name == "-":
        return read_text()
    try:
        return iter([Path(name).read_text("utf-8-sig", "replace")])
    except OSError as error:
        raise KyutaiOnnxError(f"{name}: cannot be read ({error.strerror})") from None
