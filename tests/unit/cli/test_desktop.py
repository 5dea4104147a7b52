"""The desktop app without a display: its controller, on a window that only remembers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import waiting
from support.soundcards import MIC
from support.speech import Array, hiss
from support.threaded_card import ThreadedCard, be_patient

from examples.desktop.controller import DEFAULT, Controller
from examples.desktop.sources import microphones
from examples.desktop.transcriber import Progress, Transcriber, in_order, loudness, text_of
from kyutai_onnx.models import EndOfTurn, Pause, Restart, SpeechToText, Word
from kyutai_onnx.runtime.audio.live import Device
from kyutai_onnx.runtime.errors import AudioError, ModelError


class Remembered:
    """A window that shows nothing."""

    def __init__(self) -> None:
        self.text, self.partials, self.levels = "", list[str](), list[float]()
        self.devices, self.notes = list[str](), list[str]()
        self.ready = self.recording = False

    def show_devices(self, names: list[str]) -> None:
        self.devices = names

    def write(self, text: str, partial: str) -> None:
        self.text += text
        self.partials.append(partial)

    def wipe(self) -> None:
        self.text = ""

    def show_level(self, level: float) -> None:
        self.levels.append(level)

    def show_state(self, *, ready: bool, recording: bool) -> None:
        self.ready, self.recording = ready, recording

    def show_note(self, text: str) -> None:
        self.notes.append(text)


class Card(ThreadedCard):
    """Devices may be looked for."""

    def rescan(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


def until(controller: Controller, true: Callable[[], bool]) -> None:
    waiting.until(lambda: controller.poll() or true())


def no_card() -> Card:
    raise AudioError("PortAudio is not installed")


def opened(
    model: SpeechToText, card: Callable[[], Card] = no_card
) -> tuple[Controller, Remembered]:
    window = Remembered()
    controller = Controller(window, Transcriber(lambda *_: model), None, card)
    until(controller, lambda: window.ready)
    return controller, window


def test_a_recording_becomes_words_and_a_file(
    model: SpeechToText, speech: Path, words: list[Word], tmp_path: Path
) -> None:
    controller, window = opened(model)
    controller.hear_file(str(speech))
    assert window.recording
    until(controller, lambda: not window.recording)
    assert window.text.split() == [word.text for word in words]
    assert max(window.levels) > 0.5
    assert window.levels[-1] == 0
    assert any(window.partials)
    assert "real-time factor" in window.notes[-1]
    controller.save(str(tmp_path / "said.txt"))
    assert (tmp_path / "said.txt").read_text("utf-8").split() == window.text.split()
    controller.save(str(tmp_path))
    assert "cannot be written" in window.notes[-1]
    controller.clear()
    assert window.text == controller.text == ""
    controller.close()


def test_a_microphone_is_transcribed_until_it_is_stopped(
    model: SpeechToText, pcm: Array, words: list[Word], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.raise_signal", lambda _: controller.record(DEFAULT))
    device = Device(0, "Headset", "ALSA", 2, 0, 48000, ("input",))
    card = Card(pcm, device)
    controller, window = opened(model, lambda: card)
    controller.find_devices()
    assert window.devices == [DEFAULT, "Headset"]
    controller.record("Headset")
    until(controller, lambda: not window.recording)
    card.close()
    assert window.text.split() == [word.text for word in words]
    controller.close()


def test_the_end_of_a_turn_begins_a_line(
    model: SpeechToText, pcm: Array, words: list[Word], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.raise_signal", lambda _: controller.record(DEFAULT))
    device = Device(0, "Headset", "ALSA", 1, 0, 48000, ("input",))
    rest = hiss(3)
    card = Card(np.concatenate([pcm, rest, pcm, rest]), device)
    controller, window = opened(model, lambda: card)
    controller.record(DEFAULT)
    until(controller, lambda: not window.recording)
    card.close()
    assert [line.split() for line in window.text.splitlines()] == [[w.text for w in words]] * 2
    assert window.text.endswith("\n")
    controller.close()


def test_the_words_that_lag_behind_belong_to_the_turn_that_ends() -> None:
    early, late = Word("five", 1.0, 1.2), Word("minutes", 1.2, 1.5)
    events = in_order([early, Pause(2.0, 0.9), EndOfTurn(2.0), Restart(3.0)], [late])
    assert "".join(map(text_of, events)) == "five [restarted at 3.0 s] minutes \n"


def test_what_cannot_be_read_is_reported_and_the_next_one_is(
    model: SpeechToText, speech: Path, tmp_path: Path
) -> None:
    controller, window = opened(model)
    controller.hear_file(str(tmp_path / "missing.wav"))
    until(controller, lambda: not window.recording)
    assert "missing.wav" in window.notes[-1]
    controller.find_devices()
    assert window.notes[-1] == "PortAudio is not installed"
    assert window.devices == [DEFAULT]
    controller.hear_file(str(speech))
    until(controller, lambda: "alarm" in window.text)
    controller.record(DEFAULT)
    until(controller, lambda: not window.recording)
    controller.close()


def test_a_model_that_is_missing_leaves_the_one_before(model: SpeechToText) -> None:
    def load(name: str | None, progress: Progress) -> SpeechToText:
        progress("downloading", 1, 4)
        if name is None:
            return model
        raise ModelError(f"{name}: no bundle of that name")

    window = Remembered()
    controller = Controller(window, Transcriber(load), "nowhere", no_card)
    until(controller, lambda: "nowhere: no bundle of that name" in window.notes)
    assert "downloading: 25 %" in window.notes
    assert not window.ready
    controller.choose_model(None)
    until(controller, lambda: window.ready)
    controller.choose_model("nowhere")
    assert not window.ready
    until(controller, lambda: window.ready)
    controller.close()


def test_a_recording_waits_for_the_model(model: SpeechToText, speech: Path) -> None:
    window = Remembered()
    controller = Controller(window, Transcriber(lambda *_: model), None, no_card)
    controller.hear_file(str(speech))
    until(controller, lambda: window.recording)
    controller.close()


def test_a_microphone_is_listed_once() -> None:
    doubles = [
        Device(n, MIC.name, host, 1, 0, 48000) for n, host in enumerate(("MME", "Windows WASAPI"))
    ]
    assert microphones(Card([], *doubles)) == [MIC.name]


def test_loudness_is_in_decibels(pcm: Array) -> None:
    assert loudness(pcm * 0) == loudness(pcm[:0]) == 0
    assert loudness(pcm) - loudness(pcm / 10) == pytest.approx(1 / 3, abs=0.01)
