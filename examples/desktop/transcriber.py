"""The thread that transcribes. What it has to say waits in a queue until the window asks."""

import queue
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from kyutai_onnx.models import EndOfTurn, Event, Restart, SpeechToText, Word
from kyutai_onnx.runtime.audio import Pcm
from kyutai_onnx.runtime.errors import KyutaiOnnxError

from .sources import Source

WATCHDOG_SECONDS = 10.0


@dataclass(frozen=True)
class Ready:
    """A model is loaded."""

    name: str


@dataclass(frozen=True)
class Transcribed:
    """A frame: the words and ends of turns that became known, the word that is not yet closed, the
    loudness from 0 to 1, the seconds so far and the seconds of work that each of them took."""

    events: list[Event]
    partial: str
    level: float
    seconds: float
    factor: float


@dataclass(frozen=True)
class Note:
    """A line for the person."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A source came to its end; `error` is the reason if it broke off."""

    error: str | None = None


@dataclass(frozen=True)
class Broken:
    """A model could not be loaded."""

    error: str


Message = Ready | Transcribed | Note | Ended | Broken
Progress = Callable[[str, int, int], None]
Load = Callable[[str | None, Progress], SpeechToText]


def load_model(name: str | None, progress: Progress) -> SpeechToText:
    """Loads a model; a repository is downloaded and converted at its first use."""
    return SpeechToText.load(name, progress=progress)


@dataclass
class Transcriber:
    """Loads models and transcribes sources, one after another, in a thread of its own."""

    load_model: Load = load_model
    messages: "queue.SimpleQueue[Message]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._model: SpeechToText | None = None
        self._source: Source | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def load(self, model: str | None) -> None:
        """Loads a model (see `SpeechToText.load`); answers Ready or Broken."""
        self._jobs.put(lambda: self._load(model))

    def transcribe(self, source: Source) -> None:
        """Transcribes a source, if a model is Ready; puts Transcribed for each frame, and Ended."""
        self._source = source
        self._jobs.put(lambda: self._run(source))

    def stop(self) -> None:
        """Ends the source; the words that lag behind are still emitted."""
        if self._source is not None:
            self._source.stop()

    def close(self) -> None:
        """Ends the thread, once it has closed the devices."""
        self.stop()
        self._jobs.put(None)
        self._thread.join(5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _load(self, name: str | None) -> None:
        try:
            self._model = self.load_model(name, self._report)
        except KyutaiOnnxError as error:
            self.messages.put(Broken(str(error)))
        else:
            self.messages.put(Ready(self._model.bundle.manifest.name))

    def _run(self, source: Source) -> None:
        assert self._model is not None
        try:
            error = self._transcribe(self._model, source)
        except Exception as unforeseen:  # the window must know that nothing goes on any more
            error = f"{type(unforeseen).__name__}: {unforeseen}"
        self.messages.put(Ended(error or None))

    def _transcribe(self, model: SpeechToText, source: Source) -> str:
        """Transcribes to the end, and returns what went wrong; the text before is emitted."""
        stream, error = model.stream(watchdog=WATCHDOG_SECONDS), ""

        def report(events: list[Event], level: float) -> None:
            meter = source.meter
            self.messages.put(
                Transcribed(events, stream.task.partial, level, meter.audio, meter.real_time_factor)
            )

        try:
            with closing(source.frames(model.sample_rate, model.frame_size, self._note)) as frames:
                for frame in frames:
                    with source.meter.working(len(frame.pcm) / model.sample_rate, frame.arrived):
                        events = stream.feed(frame.pcm)
                        if any(isinstance(event, EndOfTurn) for event in events):
                            stream.task.catch_up()
                            events = in_order(events, list(stream.events()))
                    report(events, loudness(frame.pcm))
        except KyutaiOnnxError as broken:
            error = str(broken)
        report(stream.flush(), 0.0)
        return error

    def _report(self, what: str, done: int, total: int) -> None:
        self._note(f"{what}: {100 * done // total} %" if total else f"{what} …")

    def _note(self, text: str) -> None:
        self.messages.put(Note(text))


def in_order(events: list[Event], late: list[Event]) -> list[Event]:
    """Puts the words of a turn, which lag behind, before the turn's end."""
    ends = [event for event in events if isinstance(event, EndOfTurn)]
    return [event for event in events if event not in ends] + late + ends


def loudness(pcm: Pcm) -> float:
    """From 0, at -60 dB of full scale and below, to 1 at full scale."""
    power = float(np.var(pcm)) if len(pcm) else 0.0
    return float(np.clip(1 + 10 * np.log10(max(power, 1e-9)) / 60, 0, 1))


def text_of(event: Event) -> str:
    """How an event reads in a transcript: a word, or a new line where a turn ends."""
    match event:
        case Word(text):
            return f"{text} "
        case EndOfTurn():
            return "\n"
        case Restart(time):
            return f"[restarted at {time:.1f} s] "
    return ""
