"""What the window's buttons do, and what the window shows. Knows no toolkit."""

import queue
from collections.abc import Callable
from typing import Protocol

from kyutai_onnx.runtime.audio.live import SoundCard
from kyutai_onnx.runtime.audio.live.sound_card import Card
from kyutai_onnx.runtime.errors import KyutaiOnnxError
from kyutai_onnx.runtime.output_file import output_file

from .sources import Microphone, Recording, Source, microphones
from .transcriber import Broken, Ended, Message, Note, Ready, Transcribed, Transcriber, text_of

DEFAULT = "System default"


class View(Protocol):
    """The window, as the controller sees it."""

    def show_devices(self, names: list[str]) -> None:
        """What the list of devices offers."""

    def write(self, text: str, partial: str) -> None:
        """Adds to the transcript, and ends it by the word that is not yet closed."""

    def wipe(self) -> None:
        """Empties the transcript."""

    def show_level(self, level: float) -> None:
        """How loud it is, from 0 to 1."""

    def show_state(self, *, ready: bool, recording: bool) -> None:
        """Whether a recording can begin, and whether one goes on."""

    def show_note(self, text: str) -> None:
        """One line below."""


class Controller:
    """Everything is called by the window's thread, `poll` by its timer."""

    def __init__(
        self,
        view: View,
        transcriber: Transcriber,
        model: str | None = None,
        card: Callable[[], Card] = SoundCard,
    ) -> None:
        self._view, self._transcriber, self._open_card = view, transcriber, card
        self._card: Card | None = None
        self._model, self._ready, self._recording = "", False, False
        self._received = ""
        self._queued: Source | None = None
        self.text = ""
        """What was written so far."""
        self.when_ended: Callable[[], object] = lambda: None
        """Is called at the end of a recording."""
        self.choose_model(model)

    def choose_model(self, model: str | None) -> None:
        """Loads another model: a bundle's folder, a name, or the demo."""
        if self._recording:
            return
        self._ready = False
        self._view.show_note("Loading the model …")
        self._show_state()
        self._transcriber.load(model)

    def record(self, device: str) -> None:
        """Starts to transcribe a device of the list; stops if it is already recording."""
        if self._recording:
            self._transcriber.stop()
            self._view.show_note("Finishing …")
        else:
            self._begin(Microphone(None if device == DEFAULT else device, self._find_card()))

    def hear_file(self, path: str) -> None:
        """Starts to transcribe a recording, once a model is there."""
        if not self._recording:
            self._begin(Recording(path))

    def find_devices(self) -> None:
        """Looks for microphones, unless one is in use."""
        if self._recording:
            return
        names: list[str] = []
        card = self._find_card()
        if card is not None:
            card.rescan()
            names = microphones(card)
        self._view.show_devices([DEFAULT, *names])

    def clear(self) -> None:
        """Forgets what was written."""
        self.text = ""
        self._view.wipe()

    def save(self, path: str) -> None:
        """Writes the transcript to a file."""
        try:
            with output_file(path) as file:
                file.write((self.text.strip() + "\n").encode())
        except KyutaiOnnxError as error:
            self._view.show_note(str(error))
        else:
            self._view.show_note(f"Saved {path}")

    def poll(self) -> None:
        """Shows what the transcriber had to say since the last time."""
        while True:
            try:
                message = self._transcriber.messages.get_nowait()
            except queue.Empty:
                return
            self._take(message)

    def close(self) -> None:
        """Ends what goes on."""
        self._transcriber.close()

    def _begin(self, source: Source) -> None:
        if not self._ready:
            self._queued = source
            return
        self._recording = True
        self._show_state()
        self._view.show_note(f"Transcribing {source.name}")
        self._transcriber.transcribe(source)

    def _take(self, message: Message) -> None:
        match message:
            case Transcribed():
                self._show(message)
            case Note(text):
                self._view.show_note(text)
            case Ready(name):
                self._become_ready(name)
            case Broken(error):
                self._stay(error)
            case Ended(error):
                self._end(error)

    def _show(self, transcribed: Transcribed) -> None:
        self._write("".join(map(text_of, transcribed.events)), transcribed.partial)
        self._view.show_level(transcribed.level)
        self._received = (
            f"received {transcribed.seconds:.1f} s, real-time factor {transcribed.factor:.2f}"
        )

    def _write(self, text: str, partial: str = "") -> None:
        self.text += text
        self._view.write(text, partial)

    def _become_ready(self, name: str) -> None:
        self._model, self._ready = name, True
        self._view.show_note(f"{name} is ready")
        self._show_state()
        queued, self._queued = self._queued, None
        if queued is not None:
            self._begin(queued)

    def _stay(self, error: str) -> None:
        """No other model: the one before goes on, if there was one."""
        self._queued, self._ready = None, bool(self._model)
        self._view.show_note(error)
        self._show_state()

    def _end(self, error: str | None) -> None:
        self._recording = False
        self._write("" if self.text[-1:] in ("", "\n") else "\n")
        self._view.show_level(0.0)
        self._view.show_note(error or f"{self._model}: {self._received}")
        self._show_state()
        self.when_ended()

    def _show_state(self) -> None:
        self._view.show_state(ready=self._ready, recording=self._recording)

    def _find_card(self) -> Card | None:
        """The sound card; None, and a note, where nothing can look for one."""
        try:
            self._card = self._card or self._open_card()
        except KyutaiOnnxError as error:
            self._view.show_note(str(error))
        return self._card
