"""Transcribes files one after the other; what was found before a fault is written all the same."""

import math
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models import SpeechToText
from ..models.events import Event, Pause, Word
from ..models.hearing import Heard
from ..runtime.audio import Pcm, read_audio
from ..runtime.errors import KyutaiOnnxError, UsageError
from . import outputs
from .choices import Format, Style
from .formats import Transcript, pause_text, word_text
from .load import read_whole
from .messages import say_error, watched
from .tokens import dump_tokens


@dataclass(frozen=True)
class Prompt:
    """What comes before the audio: text to say, audio to hear, and whether to leave that out."""

    text: str | None = None
    audio: Path | None = None
    cut: bool = False


@dataclass(frozen=True)
class Request:
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
        outputs.check_out(self.out, self.files, self.style.kind)


def require_pauses(model: SpeechToText) -> None:
    """Raises UsageError where a model cannot tell pauses."""
    if not model.has_pauses:
        raise UsageError(
            f"--vad: {model.bundle.manifest.name} has no extra heads; export it again with "
            "'--extra-heads REPO', such as kyutai/stt-1b-en_fr-candle"
        )


class Transcription:
    """All files of one request."""

    def __init__(self, model: SpeechToText, request: Request) -> None:
        if request.style.pauses:
            require_pauses(model)
        self._model, self._request = model, request
        self._to_stdout = request.out is None or str(request.out) == "-"
        self._prompt = self._read_prompt()

    def run(self) -> int:
        """Transcribes every file; returns the exit code of the first that failed, else 0."""
        request, code = self._request, 0
        done: list[Transcript] = []
        if request.several and self._to_stdout:
            outputs.print_head(request.style.kind)
        try:
            for file in request.files:
                try:
                    self._transcribe(file, done)
                except KyutaiOnnxError as error:
                    say_error(error)
                    code = code or error.exit_code
        finally:
            if request.several and self._to_stdout and request.style.kind is Format.JSON:
                outputs.print_array(done)
        return code

    def _transcribe(self, file: str, done: list[Transcript]) -> None:
        request, manifest = self._request, self._model.bundle.manifest
        blocks = read_audio(file, self._model.sample_rate, channel=request.channel)
        heard = Heard() if request.dump_tokens is not None else None
        transcript = Transcript(file, manifest.name, manifest.precision)
        done.append(transcript)
        live = LiveText(request.style) if self._is_live else None
        try:
            quiet = request.quiet or live is not None
            with blocks, closing(watched(blocks, self._model.sample_rate, quiet=quiet)) as shown:
                self._listen(shown, transcript, heard, live)
        except (KyutaiOnnxError, KeyboardInterrupt) as error:
            transcript.error = str(error) or "interrupted"
            raise
        finally:
            self._write(transcript, live)
            if heard is not None and request.dump_tokens is not None:
                dump_tokens(request.dump_tokens, text=heard.text, codes=np.array(heard.codes).T)

    def _listen(
        self,
        blocks: Iterable[Pcm],
        transcript: Transcript,
        heard: Heard | None,
        live: "LiveText | None",
    ) -> None:
        """Feeds a stream, to the end of what could be read even where that failed."""
        request, samples = self._request, 0
        stream = self._model.stream(
            prompt=request.prompt.text,
            temperature=request.temperature,
            seed=request.seed,
            heard=heard,
        )

        def file_away(events: list[Event]) -> None:
            transcript.add(events)
            if live is not None:
                live.show(events)

        try:
            if self._prompt is not None:
                file_away(stream.prime(self._prompt, cut=request.prompt.cut))
            for block in blocks:
                samples += len(block)
                file_away(stream.feed(block))
        finally:
            transcript.duration = samples / self._model.sample_rate
            if samples:
                file_away(stream.flush())

    @property
    def _is_live(self) -> bool:
        """Whether words are shown as they are found."""
        request = self._request
        return self._to_stdout and request.style.kind is Format.TEXT and not request.several

    def _write(self, transcript: Transcript, live: "LiveText | None") -> None:
        request, style = self._request, self._request.style
        path = outputs.out_path(request.out, transcript.file, style.kind, request.several)
        if path is not None:
            outputs.write_file(path, transcript, style)
        elif live is not None:
            live.end()
        elif not request.several:
            outputs.print_whole(transcript, style)
        elif style.kind is not Format.JSON:
            outputs.print_one_of_several(transcript, style)

    def _read_prompt(self) -> Pcm | None:
        if self._request.prompt.audio is None:
            return None
        return read_whole(self._request.prompt.audio, self._model.sample_rate)


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
