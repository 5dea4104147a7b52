"""Speaks a list of texts into a folder, a file each; what was made before a fault is kept."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..models import TextToSpeech
from ..models.events import Audio, Event
from ..models.tts.speech_options import SpeechKwargs
from ..models.tts.synthesis import Speech, SpeechRequest
from ..runtime.audio import AudioWriter
from ..runtime.output_file import refused
from .messages import progress_bar, say
from .output import words_file
from .output.formats import Transcript
from .output.token_trace import dump_tokens
from .synthesis import Request, chosen_voices, cut


def speak(
    model: TextToSpeech, texts: Sequence[SpeechRequest], request: Request, manner: SpeechKwargs
) -> None:
    """Says every text of the list, so many of them side by side."""
    if not all(text.voices for text in texts):
        default = chosen_voices(model, (), quiet=request.quiet)
        texts = [SpeechRequest(text.turns, text.voices or default, text.id) for text in texts]
    folders = [Path(request.out), *([request.dump_tokens] if request.dump_tokens else [])]
    for folder in folders:
        with refused(folder):
            folder.mkdir(parents=True, exist_ok=True)
    _speak_together(model, texts, request, manner)


def _speak_together(
    model: TextToSpeech, texts: Sequence[SpeechRequest], request: Request, manner: SpeechKwargs
) -> None:
    """Writes what is said as it is made, and the words even where it breaks off."""
    speeches = model.together(texts, rows=request.rows, **manner)
    outputs: dict[int, Output] = {}
    with ExitStack() as stack, progress_bar(quiet=request.quiet) as progress:
        try:
            for made in speeches.run():
                text = texts[made.index]
                if made.index not in outputs:
                    progress(f"speaking {text.id}", made.index, len(texts))
                    outputs[made.index] = Output(model, text.id, request, stack)
                outputs[made.index].take(made.events)
                if made.ended:
                    outputs.pop(made.index).tell(speeches.speech(made.index, []))
        finally:
            for output in outputs.values():
                output.end()


class Output:
    """The files of one text among many."""

    def __init__(self, model: TextToSpeech, name: str, request: Request, stack: ExitStack) -> None:
        self._name, self._request = name, request
        self._files = request.files_of(name)
        path = self._files.sound
        writer = AudioWriter(path, model.sample_rate, raw=request.encoding)
        self._writer = stack.enter_context(writer)
        manifest = model.bundle.manifest
        self._transcript = Transcript(str(path), manifest.name, manifest.precision)

    def take(self, events: Sequence[Event]) -> None:
        """Files events away."""
        for event in events:
            if isinstance(event, Audio):
                self._writer.write(event.pcm)
            else:
                self._transcript.add([event])

    def end(self) -> None:
        """Writes the words of what was made."""
        if self._files.words is None:
            return
        made = cut(self._transcript, self._writer.frames / self._writer.sample_rate)
        words_file.write_words(self._files.words, made)

    def tell(self, speech: Speech) -> None:
        """Ends the files, writes the tokens, and notes what could not be spelled."""
        self._writer.close()
        self.end()
        if speech.unspelled:
            words = ", ".join(speech.unspelled)
            note = f"note: {self._name}: the model cannot spell all of: {words}"
            say(note, quiet=self._request.quiet)
        if self._files.tokens is not None:
            dump_tokens(
                self._files.tokens,
                text=speech.text_tokens.tolist(),
                audio=speech.audio_tokens,
            )
