"""Answers recordings with speech; what was generated before a fault is kept."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.batch import Stream, TokenTrace
from ..models.events import Audio, Event, Transcript, Word
from ..models.families import Family
from ..models.options import SpeechToSpeechOptions, given, parameters
from ..models.speech_to_speech.model import too_short
from ..models.speech_to_speech.task import TranslationTask
from ..runtime.audio import AudioWriter, Pcm, RawFormat, cut_frames, read_audio
from ..runtime.audio.files.writer import check_target
from ..runtime.errors import AudioError, UsageError
from ..runtime.state_file import read_state, write_state
from .files import check_recording, declare
from .load import load
from .messages import print_note, watched
from .option_values import Format
from .options import ModelOptions, RawInput, Recording, StateFiles
from .output import transcript_files
from .output.live_output import Caption
from .output.token_trace import dump_trace

if TYPE_CHECKING:
    from ..server.client import RemoteTalk


SAVED = ("temperature", "text_temperature", "cfg_coef", "role", "voice_prompt")
"""Options that a saved stream brings."""


@dataclass(frozen=True)
class TranslationRequest:
    """The options of `translate`, `chat` or `stream` for speech to speech."""

    audio: str
    out: str | None
    channel: int | None = None
    raw: RawFormat | None = None
    words: Path | None = None
    srt: Path | None = None
    dump_tokens: Path | None = None
    save_state: Path | None = None
    load_state: Path | None = None
    quiet: bool = False

    def trace(self) -> TokenTrace | None:
        """Return a trace for the stream, if its tokens are asked for."""
        return None if self.dump_tokens is None else TokenTrace()

    def check(self, *, force: bool) -> None:
        """Declare the files; raises UsageError for options that exclude each other."""
        if self.words is not None:
            transcript_files.check_words(self.words)
        if self.srt is not None:
            transcript_files.check_folder(self.srt)
        declare(
            reads=[self.audio, self.load_state],
            audio=[self.out],
            others=[self.words, self.srt, self.dump_tokens, self.save_state],
            force=force,
        )
        check_target(self.out)


def answer(
    family: Family,
    recording: Recording,
    raw: RawInput,
    model: ModelOptions,
    asked: SpeechToSpeechOptions,
    state: StateFiles,
    *,
    quiet: bool,
) -> None:
    """Answer a recording with a model of a family, to the files that a command names."""
    request = TranslationRequest(
        audio=recording.audio,
        out=recording.out,
        channel=recording.channel,
        raw=raw.format,
        words=recording.words,
        srt=recording.srt,
        dump_tokens=recording.dump_tokens,
        save_state=state.save_state,
        load_state=state.load_state,
        quiet=quiet,
    )
    request.check(force=recording.force)
    check_recording(request.audio, channel=request.channel, raw=request.raw)
    for name in asked.recordings:
        check_recording(name)
    loaded, trace = load(family, model, quiet=quiet), request.trace()
    stream = loaded.stream(options=asked, trace=trace)
    resume(stream, request, asked)
    interpret(stream, request, trace)


def resume(stream: Stream[Any], request: TranslationRequest, asked: SpeechToSpeechOptions) -> None:
    """Load the saved stream that a request names, or print the seed of a new one.

    Raises UsageError for options that the saved stream determines.
    """
    if request.load_state is None:
        sampling = stream.task.sampling
        if asked.seed is None and (sampling.temperature > 0 or sampling.text_temperature > 0):
            print_note(f"seed {stream.task.seed}", quiet=request.quiet)
        return
    chosen, known = given(asked), parameters(type(asked))
    for name in SAVED:
        if name in chosen:
            raise UsageError(
                f"{known[name].flag} comes with the stream of '--load-state'; leave it out"
            )
    stream.load(read_state(request.load_state), seed=asked.seed)


def interpret(
    stream: Stream[Any], request: TranslationRequest, trace: TokenTrace | None = None
) -> None:
    """Feed a recording to a stream and write the speech and text as they come.

    If reading fails, what was read before is answered. If interrupted, what was generated is kept.
    """
    model, caption = stream.model, Caption(aside=request.out == "-")
    with ExitStack() as stack:
        blocks = stack.enter_context(
            read_audio(request.audio, model.sample_rate, channel=request.channel, raw=request.raw)
        )
        play = None
        if request.out is not None:
            play = stack.enter_context(AudioWriter(request.out, model.sample_rate)).write
        session = TranslationSession(stream, request, caption, play)
        quiet = request.quiet or caption.is_on_terminal
        shown = stack.enter_context(closing(watched(blocks, model.sample_rate, quiet=quiet)))
        try:
            session.run(cut_frames(shown, model.frame_size))
        except KeyboardInterrupt:
            print_note(f"interrupted after {session.seconds:.1f} s of speech", quiet=request.quiet)
            raise
        finally:
            session.end(trace)
    if session.failure is not None:
        raise session.failure


class TranslationSession:
    """One recording on its way through a stream; `play` takes the speech."""

    def __init__(
        self,
        stream: "Stream[Any] | RemoteTalk",
        request: TranslationRequest,
        caption: Caption,
        play: Callable[[Pcm], None] | None,
    ) -> None:
        self._stream, self._request, self._play = stream, request, play
        model = stream.model
        self._transcript = Transcript(request.audio, model.name, model.precision)
        self._caption = caption
        self._rate = model.sample_rate
        self._before = stream.task.spoken_seconds
        self.seconds = 0.0
        """Of speech that was made."""
        self.failure: AudioError | None = None
        """Why the recording could not be read to its end, for the caller to raise."""

    def run(self, pieces: Iterable[Pcm], *, then: Callable[[], None] = lambda: None) -> None:
        """Feed the whole recording, call `then`, and finish the speech."""
        request = self._request
        for pcm in self._readable(pieces):
            self._add(self._stream.feed(pcm))
        if not self._stream.task.received_seconds:
            raise self.failure or AudioError(
                f"{request.audio}: {too_short(self._stream.model.frame_rate)}"
            )
        then()
        if request.save_state is not None and self.failure is None:
            assert isinstance(self._stream, Stream)
            write_state(request.save_state, self._stream.save())
        self._stream.end()
        for event in self._stream.events():
            self._add([event])
        task = self._stream.task
        if isinstance(task, TranslationTask) and not task.complete:
            note = "note: the translation was cut before its end; raise --max-tail"
            print_note(note, quiet=request.quiet)

    def _readable(self, pieces: Iterable[Pcm]) -> Iterator[Pcm]:
        """Yield the pieces up to a fault in the recording."""
        try:
            yield from pieces
        except AudioError as error:
            self.failure = error

    def end(self, trace: TokenTrace | None) -> None:
        """Write the files beside the audio, and end the text."""
        request = self._request
        self._add(self._stream.close())
        self._transcript.duration = self.seconds
        self._caption.end()
        if self._caption.unread:
            print_note("note: the reader of the text closed it before its end", quiet=request.quiet)
        if request.words is not None:
            transcript_files.write_words(request.words, self._transcript)
        if request.srt is not None:
            transcript_files.write_words(request.srt, self._transcript, Format.SRT)
        if request.dump_tokens is not None and trace is not None:
            dump_trace(request.dump_tokens, trace)

    def _add(self, events: list[Event]) -> None:
        events = [_earlier(event, self._before) for event in events]
        for event in events:
            if isinstance(event, Audio):
                self.seconds += len(event.pcm) / self._rate
                if self._play is not None:
                    self._play(np.clip(event.pcm, -1, 1))
        self._transcript.add(events)
        self._caption.show(events)


def _earlier(event: Event, seconds: float) -> Event:
    """Shift a word's times to the start of this run; the stream spoke for `seconds` before."""
    if not isinstance(event, Word):
        return event
    return replace(event, start=max(0.0, event.start - seconds), end=event.end - seconds)
