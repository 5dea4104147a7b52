"""Transcribes files side by side; what was found before a fault is written all the same."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.batch import TokenTrace
from ..models.events import Event, Pause, Word
from ..models.stt.model import ROWS
from ..runtime.audio import AudioReader, Pcm, read_audio
from ..runtime.errors import KyutaiOnnxError, StandardOutputError, UsageError
from .choices import Format, Style
from .load import read_whole, require_pauses
from .messages import print_error, progress_bar, unforeseen, watched
from .output import transcripts
from .output.token_trace import dump_tokens
from .output.transcripts import Transcript, pause_text, word_text

if TYPE_CHECKING:
    from ..models import SpeechToText
    from ..server.client import RemoteSpeechToText


@dataclass(frozen=True)
class Prompt:
    """What comes before the audio: text to say, audio to hear, and whether to leave that out."""

    text: str | None = None
    audio: Path | None = None
    cut: bool = False


@dataclass(frozen=True)
class TranscriptionRequest:
    """What `transcribe` was asked for."""

    files: tuple[str, ...]
    style: Style
    out: Path | None
    prompt: Prompt
    channel: int | None
    temperature: float | None
    seed: int | None
    dump_tokens: Path | None
    quiet: bool

    @property
    def several(self) -> bool:
        return len(self.files) > 1

    def check(self) -> None:
        """Raises UsageError for what does not go together."""
        if self.prompt.cut and self.prompt.audio is None:
            raise UsageError("--cut-prompt leaves out an audio prompt: give '--prompt-audio' too")
        if self.several and self.dump_tokens is not None:
            raise UsageError("--dump-tokens takes one file at a time")
        transcripts.check_out(self.out, self.files, self.style.kind)


class Transcription:
    """All files of one request, several of them side by side."""

    def __init__(
        self, model: "SpeechToText | RemoteSpeechToText", request: TranscriptionRequest
    ) -> None:
        if request.style.pauses:
            require_pauses(model)
        self._model, self._request = model, request
        self._to_stdout = request.out is None or str(request.out) == "-"
        self._prompt = self._read_prompt()
        self._waiting, self._open = deque(request.files), deque[FileTranscription]()
        self._done: list[Transcript] = []
        self._code = 0

    def run(self) -> int:
        """Transcribes every file; returns the exit code of the first that failed, else 0."""
        request = self._request
        if request.several and self._to_stdout:
            transcripts.print_head(request.style.kind)
        batch = self._model.batch(min(len(request.files), ROWS))
        try:
            with progress_bar(quiet=request.quiet or not request.several) as progress:
                while self._waiting or self._open:
                    self._join(batch)
                    for listening in self._open:
                        listening.feed()
                    batch.step()
                    for listening in self._open:
                        listening.gather(batch)
                    self._write_whole()
                    progress("listening", len(self._done), len(request.files))
        except BaseException as error:
            self._break_off(batch, str(error) or "interrupted")
            raise
        finally:
            if request.several and self._to_stdout and request.style.kind is Format.JSON:
                transcripts.print_array(self._done)
        return self._code

    def _join(self, batch: Any) -> None:
        """Opens files while there is room; what cannot be read takes none."""
        while self._waiting and batch.free and len(self._open) < 2 * ROWS:
            file = self._waiting.popleft()
            try:
                self._open.append(self._listen(file, batch))
            except KyutaiOnnxError as error:
                self._fail(error)

    def _listen(self, file: str, batch: Any) -> "FileTranscription":
        request, model = self._request, self._model
        blocks = read_audio(file, model.sample_rate, channel=request.channel)
        heard = TokenTrace() if request.dump_tokens is not None else None
        asked = {
            "prompt": request.prompt.text,
            "temperature": request.temperature,
            "seed": request.seed,
            "trace": heard,
        }
        try:
            given: dict[str, Any] = {k: v for k, v in asked.items() if v is not None}
            row = batch.join(model.task(**given))
        except KyutaiOnnxError:
            blocks.close()
            raise
        if self._prompt is not None:
            row.task.prime(self._prompt, cut=request.prompt.cut)
        live = LiveText(request.style) if self._is_live else None
        quiet = request.quiet or request.several or live is not None
        transcript = Transcript(file, model.name, model.precision)
        return FileTranscription(blocks, model.sample_rate, quiet, row, transcript, heard, live)

    def _write_whole(self) -> None:
        """Writes the files that were heard to their end, in the order in which they were given."""
        while self._open and self._open[0].finished:
            listening = self._open.popleft()
            self._done.append(listening.transcript)
            try:
                self._write(listening.transcript, listening.live)
                if listening.heard is not None and self._request.dump_tokens is not None:
                    heard = listening.heard
                    codes = np.array(heard.codes).T
                    dump_tokens(self._request.dump_tokens, text=heard.text, codes=codes)
            except StandardOutputError:
                raise
            except KyutaiOnnxError as error:
                self._fail(error)
            if listening.error is not None:
                self._fail(listening.error)

    def _break_off(self, batch: Any, cause: str) -> None:
        """Writes what was found so far of the files that were begun."""
        for listening in self._open:
            listening.break_off(cause)
        stepped = True
        while stepped:
            stepped = batch.step()
            for listening in self._open:
                listening.gather(batch)
        self._write_whole()

    def _fail(self, error: KyutaiOnnxError) -> None:
        print_error(error)
        self._code = self._code or error.exit_code

    @property
    def _is_live(self) -> bool:
        """Whether words are shown as they are found."""
        request = self._request
        return self._to_stdout and request.style.kind is Format.TEXT and not request.several

    def _write(self, transcript: Transcript, live: "LiveText | None") -> None:
        request, style = self._request, self._request.style
        path = transcripts.out_path(request.out, transcript.file, style.kind, request.several)
        if path is not None:
            transcripts.write_file(path, transcript, style)
        elif live is not None:
            live.end()
        elif not request.several:
            transcripts.print_whole(transcript, style)
        elif style.kind is not Format.JSON:
            transcripts.print_one_of_several(transcript, style)

    def _read_prompt(self) -> Pcm | None:
        if self._request.prompt.audio is None:
            return None
        return read_whole(self._request.prompt.audio, self._model.sample_rate)


class FileTranscription:
    """A file that is being heard in a row of the batch, block by block as the row comes to it."""

    def __init__(
        self,
        blocks: AudioReader,
        sample_rate: int,
        quiet: bool,
        row: Any,
        transcript: Transcript,
        heard: TokenTrace | None,
        live: "LiveText | None",
    ) -> None:
        self.transcript, self.heard, self.live = transcript, heard, live
        self.error: KyutaiOnnxError | None = None
        self.finished = False
        self._file, self._row, self._sample_rate = blocks, row, sample_rate
        self._blocks = watched(blocks, sample_rate, quiet=quiet)
        self._samples = 0

    def feed(self) -> None:
        """Reads on where all that was read is heard; ends with the file, or with its fault."""
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
        """Takes what was found; where nothing more will be, gives the row to another file."""
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
        """Hears no more of the file."""
        if not self.finished:
            self.transcript.error = cause
            self._end()

    def _lose(self, error: KyutaiOnnxError, batch: Any) -> None:
        """The stream broke off: what was taken before is all."""
        self.error = self.error or error
        self.transcript.error = str(self.error)
        self._end()
        self.finished = True
        batch.leave(self._row)

    def _end(self) -> None:
        self._blocks.close()
        self._file.close()
        self.transcript.duration = self._samples / self._sample_rate
        self._row.end()


class LiveText:
    """Shows words on standard output as they are found, and a pause once the words that began
    before it are shown."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._separator = ""
        self._pauses: list[Pause] = []

    def show(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Word):
                self._put_pauses(event.start)
                self._put(word_text(event, self._style.timestamps))
            elif isinstance(event, Pause) and self._style.pauses:
                self._pauses.append(event)

    def end(self) -> None:
        """Shows the last pauses and ends the line."""
        self._put_pauses(math.inf)
        print(flush=True)

    def _put_pauses(self, before: float) -> None:
        while self._pauses and self._pauses[0].time < before:
            self._put(pause_text(self._pauses.pop(0)))

    def _put(self, text: str) -> None:
        print(f"{self._separator}{text}", end="", flush=True)
        self._separator = "\n" if self._style.timestamps else " "
