"""Says a text to the speaker as it comes: a pipe as one speech, a terminal line by line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from ..models import TextToSpeech
from ..models.manner import Options
from ..runtime.errors import KyutaiOnnxError
from . import speaking
from .live_request import LiveRequest
from .messages import say
from .stage import Stage
from .text_input import read_text


def speak(
    model: TextToSpeech, live: LiveRequest, voices: tuple[str, ...], **given: Unpack[Options]
) -> None:
    """Says standard input, or a text file, until it ends."""
    manner = speaking.manner(model, quiet=live.quiet, **given)
    request = speaking.Request(text="-", words=live.words, quiet=live.quiet)
    if live.words is not None:
        request.check()
    voices = speaking.chosen_voices(model, voices, quiet=live.quiet)
    stream = model.stream(voices, **manner)
    primed = list(stream.run())
    with Stage(live, model.sample_rate, model.frame_size, hears=False) as stage:
        if live.input_file in (None, "-") and sys.stdin is not None and sys.stdin.isatty():
            say("type a line to hear it; Ctrl-D ends", quiet=live.quiet)
            for line in read_text():
                if line.strip():
                    session = speaking.Session(stream, request, stage.play)
                    session.run(primed, [line])
                    session.end(None)
                    stage.rest()
                    stream.reset()
                    primed = list(stream.run())
            return
        session = speaking.Session(stream, request, stage.play)
        try:
            session.run(primed, _resting(speaking.after_the_first_word(_text(live)), stage))
        finally:
            session.end(None)


def _resting(pieces: Iterator[str], stage: Stage) -> Iterator[str]:
    """The pieces; while the next one is waited for, silence is right."""
    for piece in pieces:
        yield piece
        stage.rest()


def _text(live: LiveRequest) -> Iterator[str]:
    if live.input_file in (None, "-"):
        return read_text()
    path = Path(live.input_file or "")
    try:
        return iter([path.read_text("utf-8-sig", "replace")])
    except OSError as error:
        raise KyutaiOnnxError(f"{path}: cannot be read ({error.strerror})") from None
