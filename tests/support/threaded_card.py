"""A sound card whose devices are threads of the test, quicker than real ones."""

import math
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.speech import RATE, Array

from kyutai_onnx.cli.live import live_audio
from kyutai_onnx.runtime.audio.live import LiveSound
from kyutai_onnx.runtime.audio.live.devices import Device

MIC = Device(0, "Desk Microphone", "ALSA", 2, 0, 48000, ("input",))
BOX = Device(1, "Loud Box", "ALSA", 0, 2, RATE, ("output",))
BLOCK = 1200
HASTE = 4
"""How much quicker than real time the devices are."""


class ThreadedCard:
    """A microphone that says a recording at `RATE` or a multiple of it, and after it interrupts the
    program as Ctrl-C does, or by another `signal`; and a speaker that keeps what it plays."""

    def __init__(self, said: Array, *devices: Device) -> None:
        self.said, self._devices = said, list(devices)
        self.played: list[Array] = []
        self.signal = signal.SIGINT
        self._over = threading.Event()

    def devices(self) -> list[Device]:
        return self._devices

    def rescan(self) -> None:
        raise AssertionError("no device has gone")

    def open_input(self, device: Device, take: Callable[..., None]) -> Any:
        def talk() -> None:
            for start in range(0, len(self.said), BLOCK):
                piece = np.repeat(self.said[start : start + BLOCK], device.rate // RATE)
                take(np.repeat(piece[:, None], device.inputs, axis=1), False)
                if self._over.wait(BLOCK / RATE / HASTE):
                    return
            signal.raise_signal(self.signal)

        return self._run(talk)

    def open_output(self, device: Device, fill: Callable[..., None]) -> Any:
        def play() -> None:
            while not self._over.wait(BLOCK / RATE / HASTE):
                block = np.zeros((BLOCK, device.outputs), np.float32)
                fill(block)
                self.played.append(block[:, 0])

        return self._run(play)

    def close(self) -> None:
        self._over.set()

    def _run(self, target: Callable[[], None]) -> Any:
        threading.Thread(target=target, daemon=True).start()
        return SimpleNamespace(latency=0.01, ended=False, close=self.close)


Use = Callable[..., ThreadedCard]
"""Takes what the microphone says, and the devices, by default `MIC` and `BOX`."""


def using(monkeypatch: pytest.MonkeyPatch) -> Use:
    """What puts `stream` on such a card."""

    be_patient(monkeypatch)

    def use(said: Array, *devices: Device) -> ThreadedCard:
        card = ThreadedCard(said, *(devices or (MIC, BOX)))
        monkeypatch.setattr(live_audio, "SoundCard", lambda: card)
        return card

    return use


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes live sound keep all that waits, as a busy machine may be slower than these devices."""
    monkeypatch.setitem(LiveSound.__init__.__kwdefaults__, "keep", math.inf)
