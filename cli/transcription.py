"""Transcribes files side by side; what was found before a fault is written."""

import math
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.batch import TokenTrace
from ..models.events import Event, Pause, Transcript, Word
from ..models.options import SpeechToTextOptions
from ..models.stt.model import ROWS
from ..runtime.audio import AudioReader, Pcm, RawFormat, read_audio
from ..runtime.errors import KyutaiOnnxError, StandardOutputError, UsageError
from .files import InputFile, open_file
from .load import read_whole, require_pauses
from .messages import print_error, print_note, progress_bar, unforeseen, watched
from .option_values import Format
from .output import transcript_files
from .output.formats import Style, pause_text, word_text
from .output.token_trace import dump_trace

if TYPE_CHECKING:
    from ..models import SpeechToText
    from ..server.client import RemoteSpeechToText


PARTS = 1000
"""Steps of the progress of a file."""


@dataclass(frozen=True)
class Prompt:
    """Audio to transcribe before the file, and whether to leave out its words."""

    audio: Path | None = None
    cut: bool = False


@dataclass(frozen=True)
class TranscriptionRequest:
    """The options of `transcribe`."""

    files: tuple[InputFile, ...]
    style: Style
    out: str | None
    prompt: Prompt
    channel: int | None
    raw: RawFormat | None
    options: SpeechToTextOptions
    dump_tokens: Path | None
    quiet: bool

    @property
    def several(self) -> bool:
        return len(self.files) > 1

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        if self.prompt.cut and self.prompt.audio is None:
            raise UsageError("--cut-prompt leaves out an audio prompt: give '--prompt-audio' too")
        if self.several and self.dump_tokens is not None:
            raise UsageError("--dump-tokens takes one file at a time")
        self.style.check()
        transcript_files.check_out(self.out, self.files, self.style.kind)


class Transcription:
    """All files of one request, several of them side by side."""

    def __init__(
        self, model: "SpeechToText | RemoteSpeechToText", request: TranscriptionRequest
    ) -> None:
        if request.style.pauses:
            require_pauses(model)
        self._model, self._request = model, request
        self._to_stdout = request.out in (None, "-")
        self._prompt = self._read_prompt()
        self._waiting, self._open = deque(request.files), deque[FileTranscription]()
        self._done: list[Transcript] = []
        self._code = 0

    def run(self) -> int:
        """Transcribe every file; returns the exit code of the first that failed, else 0."""
        request = self._request
        whole, style = request.several and self._to_stdout, request.style
        if whole:
            self._print(style.format.head_of_several())
        batch = self._model.batch(min(len(request.files), ROWS))
        try:
            with progress_bar(quiet=request.quiet or not request.several) as progress:
                while self._waiting or self._open:
                    self._join(batch)
                    for each in self._open:
                        each.feed()
                    batch.step()
                    for each in self._open:
                        each.gather(batch)
                    self._write_whole()
                    done, count = len(self._done), len(request.files)
                    part = sum(each.part for each in self._open)
                    what = f"transcribing, {done} of {count} done"
                    progress(what, round(PARTS * (done + part)), PARTS * count)
        except BaseException as error:
            self._break_off(batch, str(error) or "interrupted")
            raise
        finally:
            if whole:
                self._print(style.format.tail_of_several(self._done, style))
        return self._code

    def _join(self, batch: Any) -> None:
        """Open files while there is room; unreadable ones take none."""
        while self._waiting and batch.free and len(self._open) < 2 * ROWS:
            file = self._waiting.popleft()
            try:
                self._open.append(self._open_file(file, batch))
            except KyutaiOnnxError as error:
                self._fail(error)

    def _open_file(self, file: InputFile, batch: Any) -> "FileTranscription":
        request, model = self._request, self._model
        blocks = read_audio(file.name, model.sample_rate, channel=request.channel, raw=request.raw)
        trace = TokenTrace() if request.dump_tokens is not None else None
        try:
            row = batch.join(model.task(options=request.options, trace=trace))
        except KyutaiOnnxError:
            blocks.close()
            raise
        if self._prompt is not None:
            row.task.prime(self._prompt, cut=request.prompt.cut)
        live = LiveText(request.style) if self._is_live else None
        quiet = request.quiet or request.several or (live is not None and _share_terminal())
        transcript = Transcript(file.name, model.name, model.precision)
        return FileTranscription(
            file, blocks, model.sample_rate, quiet, row, transcript, trace, live
        )

    def _write_whole(self) -> None:
        """Write the finished files, in the order of the command line."""
        while self._open and self._open[0].finished:
            each = self._open.popleft()
            self._done.append(each.transcript)
            try:
                self._write(each)
                if each.trace is not None and self._request.dump_tokens is not None:
                    dump_trace(self._request.dump_tokens, each.trace)
            except StandardOutputError:
                raise
            except KyutaiOnnxError as error:
                self._fail(error)
            if each.error is not None:
                self._fail(each.error)

    def _break_off(self, batch: Any, cause: str) -> None:
        """Write what was found so far of the open files."""
        for each in self._open:
            each.break_off(cause)
        stepped = True
        while stepped:
            stepped = batch.step()
            for each in self._open:
                each.gather(batch)
        self._write_whole()

    def _fail(self, error: KyutaiOnnxError) -> None:
        print_error(error)
        self._code = self._code or error.exit_code

    @property
    def _is_live(self) -> bool:
        """Whether words are printed as they are found."""
        request = self._request
        return self._to_stdout and request.style.kind is Format.TEXT and not request.several

    def _write(self, done: "FileTranscription") -> None:
        request, style = self._request, self._request.style
        transcript, live = done.transcript, done.live
        path = transcript_files.out_path(request.out, done.file, style.kind)
        if path is not None:
            transcript_files.make_folder(request.out or "", done.file.subfolder)
            transcript_files.write_transcript(path, transcript, style)
        elif live is not None:
            live.end()
        elif request.several:
            self._print(style.format.one_of_several(transcript, style))
        else:
            self._print(style.format.document(transcript, style))
        if not transcript.words and transcript.error is None:
            print_note(f"note: {transcript.file}: no words found", quiet=request.quiet)

    @staticmethod
    def _print(text: str) -> None:
        if text:
            print(text, end="", flush=True)

    def _read_prompt(self) -> Pcm | None:
        if self._request.prompt.audio is None:
            return None
        return read_whole(self._request.prompt.audio, self._model.sample_rate)


class FileTranscription:
    """A file in a row of the batch, read block by block as the row needs it."""

    def __init__(
        self,
        file: InputFile,
        blocks: AudioReader,
        sample_rate: int,
        quiet: bool,
        row: Any,
        transcript: Transcript,
        trace: TokenTrace | None,
        live: "LiveText | None",
    ) -> None:
        self.file, self.transcript, self.trace, self.live = file, transcript, trace, live
        self.error: KyutaiOnnxError | None = None
        self.finished = False
        self._audio, self._row, self._sample_rate = blocks, row, sample_rate
        self._blocks = watched(blocks, sample_rate, quiet=quiet)
        self._samples = 0

    @property
    def part(self) -> float:
        """How much of the file is read, from 0 to 1; 0 if its length is unknown."""
        length = self._audio.info.duration
        return min(1.0, self._samples / self._sample_rate / length) if length else 0.0

    def feed(self) -> None:
        """Read the next block once the last one is transcribed; end with the file or its fault."""
        if self._row.waiting or self._row.ended:
            return
        try:
            block = next(self._blocks, None)
        except KyutaiOnnxError as error:
            self.error, block = error, None
            self.transcript.error = str(error)
        if block is None:
            self._end()
        else:
            self._samples += len(block)
            self._row.feed(block)

    def gather(self, batch: Any) -> None:
        """Take what was found; give the row away after the last word."""
        if self.finished:
            return
        try:
            events = self._row.events()
        except KyutaiOnnxError as error:
            self._lose(error, batch)
            return
        except Exception as error:  # what went wrong in this file's row ends this file alone
            self._lose(unforeseen(error), batch)
            return
        self.transcript.add(events)
        if self.live is not None:
            self.live.show(events)
        if self._row.done:
            self.finished = True
            batch.leave(self._row)

    def break_off(self, cause: str) -> None:
        """End the file here."""
        if not self.finished:
            self.transcript.error = cause
            self._end()

    def _lose(self, error: KyutaiOnnxError, batch: Any) -> None:
        """End a file whose row failed, with what was found before."""
        self.error = self.error or error
        self.transcript.error = str(self.error)
        self._end()
        self.finished = True
        batch.leave(self._row)

    def _end(self) -> None:
        self._blocks.close()
        self._audio.close()
        self.transcript.duration = self._samples / self._sample_rate
        self._row.end()


def _share_terminal() -> bool:
    """Whether a bar would disturb words that are printed as they are found."""
    return sys.stderr.isatty() and open_file(sys.stdout) is None


class LiveText:
    """Prints words as they are found, and a pause after the words that started before it."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._separator = ""
        self._pauses: list[Pause] = []

    def show(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Word):
                self._put_pauses(event.start)
                self._put(word_text(event, self._style))
            elif isinstance(event, Pause) and self._style.pauses:
                self._pauses.append(event)

    def end(self) -> None:
        """Print the last pauses and end the line."""
        self._put_pauses(math.inf)
        if self._separator:
            print(flush=True)

    def _put_pauses(self, before: float) -> None:
        while self._pauses and self._pauses[0].time < before:
            self._put(pause_text(self._pauses.pop(0)))

    def _put(self, text: str) -> None:
        print(f"{self._separator}{text}", end="", flush=True)
        self._separator = "\n" if self._style.timestamps else " "
