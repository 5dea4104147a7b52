"""Speaks texts into files or a pipe as the audio is generated; it is kept if a fault ends it."""

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import TextToSpeech
from ..models.batch import Stream, TokenTrace
from ..models.events import Audio, Event, Transcript, Word, to_millisecond
from ..models.options import SpeechOptions
from ..models.tts.synthesis import NOTHING_TO_SAY, Speech, SpeechRequest
from ..runtime.audio import AudioWriter, Encoding, Pcm
from ..runtime.audio.files.writer import check_target
from ..runtime.errors import UsageError
from ..runtime.output_file import is_folder
from ..runtime.state_file import write_state
from . import files
from .live.live_audio import NO_DEVICE, LiveAudio, LiveRequest, check_devices
from .messages import print_note, print_seed, progress_bar
from .options import refuse
from .output import transcript_files
from .output.token_trace import dump_tokens, dump_trace
from .text_input import read_text

if TYPE_CHECKING:
    from ..models.tts.task import TextToSpeechTask
    from ..server.client import RemoteSpeech, RemoteTextToSpeech


@dataclass(frozen=True)
class SpokenFiles:
    """The files of one text."""

    sound: Path
    words: Path | None
    tokens: Path | None


@dataclass(frozen=True)
class SynthesisRequest:
    """The options of `say`."""

    text: str | None = None
    jsonl: str | None = None
    out: str | None = "-"
    """The file; None writes none, for speech that is played."""
    play: bool = False
    output_device: str | None = None
    voices: tuple[str, ...] = ()
    turns: bool = False
    words: Path | None = None
    raw: bool = False
    save_voice: Path | None = None
    dump_tokens: Path | None = None
    rows: int = 1
    quiet: bool = False

    def check(self) -> None:
        """Raise UsageError for options that exclude each other, and as `check_devices` does."""
        if not self.play:
            refuse("is for '--play'; give it or leave this out", output_device=self.output_device)
        elif self.output_device == NO_DEVICE:
            raise UsageError(f"--output-device {NO_DEVICE} plays nothing; leave '--play' out")
        elif self.jsonl is not None or self.text is None:
            raise UsageError("--play is for a single text: give TEXT, or - for standard input")
        if self.jsonl is not None:
            self._check_many()
        elif self.text is None and self.save_voice is None:
            raise UsageError("nothing to say: give TEXT, - for standard input, or '--jsonl FILE'")
        elif self.text not in (None, "-") and not str(self.text).strip():
            raise UsageError(NOTHING_TO_SAY)
        elif self.text is not None and self.out == "-" and sys.stdout.isatty():
            raise UsageError(
                "standard output is a terminal: give '-o OUT.wav', or redirect it to a player"
            )
        words = self.words if self.jsonl is None else self.files_of("words").words
        if words is not None:
            transcript_files.words_format(words)
        if self.jsonl is None and words is not None:
            transcript_files.check_folder(words)
        if self.jsonl is None:
            check_target(self.out, headerless=self.raw)
        if self.play:
            instead = "; to write a file, give '-o OUT.wav' instead of '--play'"
            check_devices(self.live, reads_audio=False, speaks=True, instead=instead)

    @property
    def live(self) -> LiveRequest:
        """What is asked of an output device."""
        return LiveRequest(output_device=self.output_device, quiet=self.quiet)

    @property
    def encoding(self) -> Encoding | None:
        """How samples without a header are written; None with a header."""
        return "s16le" if self.raw else None

    def declare(
        self, texts: Sequence[SpeechRequest], *, reads: Iterable[files.Name], force: bool
    ) -> None:
        """Declare the files of a command, those of each text of a list included."""
        written = [self.files_of(text.id) for text in texts]
        if self.jsonl is None:
            written = [SpokenFiles(Path(self.out or "-"), self.words, self.dump_tokens)]
        voices = (voice for text in texts for voice in text.voices)
        files.declare(
            reads=[self.jsonl, *map(_local, (*self.voices, *voices)), *reads],
            audio=[each.sound for each in written],
            others=[self.save_voice, *(p for each in written for p in (each.words, each.tokens))],
            force=force,
        )

    def files_of(self, name: str) -> SpokenFiles:
        """Return the files of one text among many; --words names their ending, such as .srt."""
        sound = Path(self.out or "", f"{name}{'.raw' if self.raw else '.wav'}")
        words, tokens = self.words, self.dump_tokens
        return SpokenFiles(
            sound,
            words and sound.with_name(name + (words.suffix or words.name)),
            tokens and tokens / f"{name}.npz",
        )

    def _check_many(self) -> None:
        if self.text is not None:
            raise UsageError("TEXT and --jsonl exclude each other; leave one of them out")
        if self.out is None or self.out == "-":
            raise UsageError("--jsonl writes a file for each text: give '-o FOLDER'")
        if self.save_voice is not None or self.turns:
            raise UsageError("--save-voice and --turns are for a single text, not for --jsonl")
        if not transcript_files.names_folder(self.out):
            cause = "is a file" if Path(self.out).exists() else "is not a folder that exists"
            raise UsageError(f"{self.out} {cause}; --jsonl needs a folder: give '-o FOLDER/'")
        if self.dump_tokens is not None and not is_folder(str(self.dump_tokens)):
            raise UsageError(f"{self.dump_tokens} is not a folder that exists; make it first")


def _local(voice: str) -> str:
    return voice.removeprefix("file://")


def count_of(codebooks: str) -> int | None:
    """Return the number of codebooks, None for all; raises UsageError for another value."""
    if codebooks == "all":
        return None
    if not codebooks.isascii() or not codebooks.isdigit():
        raise UsageError(f"--codebooks {codebooks}: give a number, or all")
    return int(codebooks)


def with_seed(
    model: "TextToSpeech | RemoteTextToSpeech", given: SpeechOptions
) -> tuple[SpeechOptions, int | None]:
    """Return options with a seed, and the seed if it was drawn here."""
    temperature = given.temperature
    sampled = not model.is_greedy if temperature is None else temperature > 0
    if sampled and given.seed is None:
        seed = secrets.randbits(32)
        return replace(given, seed=seed), seed
    return given, None


def chosen_voices(
    model: "TextToSpeech | RemoteTextToSpeech", voices: tuple[str, ...], *, quiet: bool
) -> tuple[str, ...]:
    """Return the voices that were asked for, else the model's default, which is printed."""
    default = model.default_voice
    if voices or default is None:
        return voices
    print_note(f"no --voice given: using {default}", quiet=quiet)
    return (default,)


def speak(
    model: TextToSpeech, request: SynthesisRequest, given: SpeechOptions, seed: int | None
) -> None:
    """Speak one text as it comes."""
    trace = None if request.dump_tokens is None else TokenTrace()
    voices = chosen_voices(model, request.voices, quiet=request.quiet)
    stream = model.stream(voices, options=given, trace=trace)
    primed = list(stream.events())
    if request.save_voice is not None:
        write_state(request.save_voice, stream.save())
    if request.text is not None:
        speak_by(stream, request, primed, trace, seed=seed)


def speak_by(
    stream: "Stream[TextToSpeechTask] | RemoteSpeech",
    request: SynthesisRequest,
    primed: Iterable[Event],
    trace: TokenTrace | None = None,
    *,
    seed: int | None,
) -> None:
    """Speak one text with a stream, after the events of its voice; print the seed if it was
    drawn."""
    assert request.text is not None
    pieces = after_the_first_word(read_text() if request.text == "-" else [request.text])
    model, outputs = stream.model, list[Callable[[Pcm], None]]()
    with ExitStack() as stack:
        if request.out is not None:
            writer = AudioWriter(request.out, model.sample_rate, raw=request.encoding)
            outputs.append(stack.enter_context(writer).write)
        if request.play:
            live = LiveAudio(request.live, model.sample_rate, model.frame_size, reads_audio=False)
            audio = stack.enter_context(live)
            outputs.append(audio.play)
            here = isinstance(stream, Stream)
            pieces = audio.resting(pieces) if here else audio.ticking(pieces, stream.task)
            audio.meter.note_text()
        session = SynthesisSession(stream, request, lambda pcm: [put(pcm) for put in outputs], seed)
        try:
            session.run(primed, pieces)
        except KeyboardInterrupt:
            print_note(f"interrupted after {session.seconds:.1f} s of speech", quiet=request.quiet)
            raise
        finally:
            session.end(trace)


def after_the_first_word(pieces: Iterable[str]) -> Iterator[str]:
    """Return all pieces once one of them has text; before that no file is touched.

    Raises UsageError if there is no text.
    """
    left, begun = iter(pieces), ""
    for piece in left:
        begun += piece
        if begun.strip():
            return chain([begun], left)
    raise UsageError(NOTHING_TO_SAY)


class SynthesisSession:
    """One text on its way through a stream; `play` takes the audio.

    `seed` is printed once there is something to speak: a text that is refused has none.
    """

    def __init__(
        self,
        stream: "Stream[TextToSpeechTask] | RemoteSpeech",
        request: SynthesisRequest,
        play: Callable[[Pcm], object],
        seed: int | None = None,
    ) -> None:
        self._stream, self._request, self._play, self._seed = stream, request, play, seed
        self._samples = 0
        model = stream.model
        self._transcript = Transcript(request.out or "-", model.name, model.precision)

    @property
    def seconds(self) -> float:
        """Seconds of speech that were generated."""
        return self._samples / self._stream.model.sample_rate

    def run(self, primed: Iterable[Event], pieces: Iterable[str]) -> None:
        """Speak the whole text, after the events of the voice.

        Raises UsageError if nothing of it can be spoken.
        """
        self._add(primed)
        with progress_bar(quiet=self._request.quiet) as progress:
            total = 0
            for piece in chain(pieces, [None]):
                before = self._stream.task.waiting_words
                events = self._feed(piece)
                total += self._stream.task.waiting_words - before
                for event in events:
                    self._print_seed()
                    self._add([event])
                    progress("speaking", total - self._stream.task.waiting_words, total)
        if not self._stream.task.given:
            raise UsageError(NOTHING_TO_SAY)
        self._print_seed()

    def _print_seed(self) -> None:
        if self._stream.task.given:
            print_seed(self._seed, quiet=self._request.quiet)
            self._seed = None

    def end(self, trace: TokenTrace | None) -> None:
        """Write the files beside the audio."""
        request = self._request
        self._add(self._stream.close())
        task = self._stream.task
        for note in notes(task.unspelled, task.dropped_tags):
            print_note(f"note: {note}", quiet=request.quiet)
        if request.words is not None:
            transcript_files.write_words(request.words, cut(self._transcript, self.seconds))
        if request.dump_tokens is not None and trace is not None:
            dump_trace(request.dump_tokens, trace)

    def _feed(self, piece: str | None) -> Iterable[Event]:
        """Return the events of a piece of text; None ends the text."""
        if piece is None:
            self._stream.end()
            return self._stream.events()
        turns = piece.split("\n") if self._request.turns else [piece]
        for number, turn in enumerate(turns):
            if number:
                self._stream.task.next_turn()
            self._stream.add(turn)
        return self._stream.events()

    def _add(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Audio):
                self._play(event.pcm)
                self._samples += len(event.pcm)
            else:
                self._transcript.add([event])


def notes(unspelled: Sequence[str], dropped_tags: Sequence[str]) -> Iterator[str]:
    """Yield what was left out of a text."""
    if unspelled:
        yield f"the model cannot spell all of: {', '.join(unspelled)}"
    if dropped_tags:
        yield f"tags that are not supported were left out: {', '.join(dropped_tags)}"


def cut(transcript: Transcript, seconds: float) -> Transcript:
    """Cut a transcript to the words whose audio was generated."""
    made = [word for word in transcript.words if word.start < seconds]
    last = to_millisecond(seconds)
    transcript.words = [Word(word.text, word.start, min(word.end, last)) for word in made]
    transcript.duration = seconds
    return transcript


def speak_list(
    model: TextToSpeech,
    texts: Sequence[SpeechRequest],
    request: SynthesisRequest,
    given: SpeechOptions,
) -> None:
    """Speak every text of a list, several side by side."""
    if not all(text.voices for text in texts):
        default = chosen_voices(model, (), quiet=request.quiet)
        texts = [SpeechRequest(text.turns, text.voices or default, text.id) for text in texts]
    transcript_files.make_folder(request.out or "")
    _speak_together(model, texts, request, given)


def _speak_together(
    model: TextToSpeech,
    texts: Sequence[SpeechRequest],
    request: SynthesisRequest,
    given: SpeechOptions,
) -> None:
    """Write audio as it is generated, and the words even if a fault ends it."""
    speeches = model.together(texts, rows=request.rows, options=given)
    outputs: dict[int, SpokenText] = {}
    with ExitStack() as stack, progress_bar(quiet=request.quiet) as progress:
        try:
            for made in speeches.run():
                text = texts[made.index]
                if made.index not in outputs:
                    progress(f"speaking {text.id}", made.index, len(texts))
                    outputs[made.index] = SpokenText(model, text.id, request, stack)
                outputs[made.index].add(made.events)
                if made.ended:
                    outputs.pop(made.index).finish(speeches.speech(made.index, []))
        finally:
            for output in outputs.values():
                output.end()


class SpokenText:
    """The open files of one text among many."""

    def __init__(
        self, model: TextToSpeech, name: str, request: SynthesisRequest, stack: ExitStack
    ) -> None:
        self._name, self._request = name, request
        self._files = request.files_of(name)
        path = self._files.sound
        writer = AudioWriter(path, model.sample_rate, raw=request.encoding)
        self._writer = stack.enter_context(writer)
        manifest = model.bundle.manifest
        self._transcript = Transcript(str(path), manifest.name, manifest.precision)

    def add(self, events: Sequence[Event]) -> None:
        """Write the audio and keep the words of events."""
        for event in events:
            if isinstance(event, Audio):
                self._writer.write(event.pcm)
            else:
                self._transcript.add([event])

    def end(self) -> None:
        """Write the words of the audio that was generated."""
        if self._files.words is None:
            return
        made = cut(self._transcript, self._writer.frames / self._writer.sample_rate)
        transcript_files.write_words(self._files.words, made)

    def finish(self, speech: Speech) -> None:
        """Close the files, write the tokens, and report what could not be spelled."""
        self._writer.close()
        self.end()
        for note in notes(speech.unspelled, speech.dropped_tags):
            print_note(f"note: {self._name}: {note}", quiet=self._request.quiet)
        if self._files.tokens is not None:
            dump_tokens(
                self._files.tokens,
                text=speech.text_tokens.tolist(),
                audio=speech.audio_tokens,
            )
