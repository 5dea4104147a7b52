"""Text to speech, live: a pipe is one speech, and each line of a terminal is one."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...models.batch import Stream
from ...models.options import SpeechOptions
from ...runtime.errors import UsageError
from .. import synthesis
from ..messages import print_error, print_note, print_seed
from ..output import transcript_files
from ..text_input import read_file, read_text
from .live_audio import LiveAudio, LiveRequest

if TYPE_CHECKING:
    from ...models import TextToSpeech
    from ...server.client import RemoteTextToSpeech


class LiveSynthesis:
    """A stream of text to speech between a text and an output device."""

    def __init__(
        self,
        request: LiveRequest,
        model: "TextToSpeech | RemoteTextToSpeech",
        options: SpeechOptions,
    ) -> None:
        stdin = request.input_file is None and sys.stdin is not None
        self._by_line = stdin and sys.stdin.isatty()
        if request.words is not None:
            transcript_files.check_words(request.words)
            if self._by_line:
                raise UsageError("--words is for one text: give it by a pipe or by '--input-file'")
        self._request, self._model = request, model
        given, seed = synthesis.with_seed(model, options)
        print_seed(seed, quiet=request.quiet)
        voices = synthesis.chosen_voices(model, request.voices, quiet=request.quiet)
        self._stream: Any = model.stream(voices, options=given)

    def run(self) -> None:
        """Speak standard input, or a text file, until it ends."""
        request, model = self._request, self._model
        with LiveAudio(request, model.sample_rate, model.frame_size, reads_audio=False) as audio:
            if self._by_line:
                self._speak_lines(audio)
                return
            pieces = synthesis.after_the_first_word(_text(request.input_file))
            if isinstance(self._stream, Stream):
                self._speak(audio, audio.resting(pieces))
            else:
                self._speak(audio, audio.ticking(pieces, self._stream.task))

    def _speak(self, audio: LiveAudio, pieces: Iterator[str]) -> None:
        audio.meter.note_text()
        request = synthesis.SynthesisRequest(words=self._request.words, quiet=self._request.quiet)
        primed = list(self._stream.events())
        session = synthesis.SynthesisSession(self._stream, request, audio.play)
        try:
            session.run(primed, pieces)
        finally:
            session.end(None)

    def _speak_lines(self, audio: LiveAudio) -> None:
        """Speak each line as a text of its own; an error in one does not end the others."""
        print_note("type a line to hear it; Ctrl-D ends", quiet=self._request.quiet)
        for line in read_text():
            if line.strip():
                try:
                    self._speak(audio, iter([line]))
                except UsageError as error:
                    print_error(error)
                audio.flush()
                self._stream.reset()


def _text(name: str | None) -> Iterator[str]:
    return read_text() if name is None or name == "-" else iter([read_file(name)])
