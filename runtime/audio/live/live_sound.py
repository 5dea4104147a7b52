"""Live sound in and out of the machine, which goes on where devices come and go.

Callbacks only copy into bounded queues. Whoever works on the sound does so in a thread of its own;
`tick` is for another one, which looks after the devices.
"""

from collections.abc import Iterator

import numpy as np

from ..pcm import Pcm
from .capture import Inlet
from .clock import Clock
from .devices import Device
from .meter import Meter
from .microphone import Frame, Microphone
from .playback import Outlet
from .player import Loudspeaker
from .reconnecting_device import Port
from .sound_card import Card, OpenDevice

KEPT_SECONDS = 2.0
"""Of sound that came in and was not yet worked on, and of sound that waits to be heard."""

PREBUFFER_SECONDS = 0.16
"""Two frames of Kyutai's models."""

AHEAD_SECONDS = 2.0
RETRY_SECONDS = 1.0
DISTURBING_RETRY_SECONDS = 5.0
"""Between two looks for a device, which stop another one that is open for a moment."""


class LiveSound:
    """A microphone, a speaker, or both, at the rate of a model."""

    def __init__(
        self, card: Card, clock: Clock, rate: int, frame_size: int, *, keep: float = KEPT_SECONDS
    ) -> None:
        self.meter = Meter(clock)
        self._card, self._clock, self._rate, self._frame_size = card, clock, rate, frame_size
        self.inlet = Inlet(keep, clock)
        self.outlet = Outlet(PREBUFFER_SECONDS, keep)
        """Counts what is heard, dropped and missing."""
        self.muted = 0.0
        """Seconds of the microphone that became silence since the speaker was heard."""
        self.microphone: Port | None = None
        self.speaker: Port | None = None
        self._ear: Microphone | None = None
        self._voice: Loudspeaker | None = None
        self._half_duplex = False
        self._next_look = 0.0
        self._told_dropped = False

    def listen(
        self, wanted: str | None, *, channel: int | None = None, half_duplex: bool = False
    ) -> None:
        """Opens the microphone that is wanted (see `choose_device`). With `half_duplex` it hears
        silence while the speaker can be heard.

        Raises AudioError or UsageError where there is none.
        """
        port = Port(self._card, self._clock, "input", wanted, self._start_input)
        self._half_duplex = half_duplex
        self._ear = Microphone(self.inlet, self._clock, self._rate, self._frame_size, channel)
        self.microphone = port
        port.open()

    def speak(self, wanted: str | None, *, wait: bool = False) -> None:
        """Opens the speaker that is wanted. With `wait`, `play` returns only when little is queued.

        Raises AudioError or UsageError where there is none.
        """
        port = Port(self._card, self._clock, "output", wanted, self._start_output)
        self._voice = Loudspeaker(self.outlet, self._clock, self._rate)
        self.speaker = port
        if wait:
            self.wait_for_speaker()
        port.open()

    def wait_for_speaker(self) -> None:
        """From now on `play` returns only when little is queued, and nothing is dropped: for what
        is made quicker than it is spoken."""
        self.outlet.limit = None
        if self._voice is not None:
            self._voice.ahead = AHEAD_SECONDS

    def frames(self) -> Iterator[Frame]:
        """What the microphone hears, frame after frame, until `stop`."""
        assert self._ear is not None
        assert self.microphone is not None
        for frame in self._ear.frames():
            pcm, spoken = frame.pcm, frame.arrived - self.microphone.latency
            if self._half_duplex and self._voice and self._voice.is_audible(spoken):
                self.muted += len(pcm) / self._rate
                pcm = np.zeros_like(pcm)
            yield Frame(pcm, spoken)

    def play(self, pcm: Pcm) -> None:
        """Says samples float32 [n]."""
        if self._voice is None or self.speaker is None:
            return
        after = self._voice.play(pcm, self.speaker.latency)
        if self._voice.ahead is None:
            self.meter.spoke(after)
        elif self._voice.is_audible(self._clock.now()):
            self.meter.read_aloud(after)
        self._voice.wait()

    def rest(self) -> None:
        """Nothing more is to be said for now."""
        if self._voice is not None:
            self._voice.rest()

    def drain(self) -> None:
        """Returns when all that was said has been heard."""
        if self._voice is not None and self.speaker is not None:
            self._voice.drain(self.speaker.latency)

    def stop(self) -> None:
        """Hears no more: `frames` ends with what had come; from any thread."""
        if self._ear is not None:
            self._ear.stop()

    def close(self) -> None:
        """Closes the devices."""
        for port in self._ports:
            port.close()

    def tick(self) -> list[str]:
        """Looks after the devices, several times a second; returns what there is to be told."""
        told = []
        for port in self._ports:
            if port.has_gone():
                port.lose()
                self._disconnect(port)
                told.append(f"{port.name} has gone; waiting for it")
        if any(not port.is_open for port in self._ports) and self._clock.now() >= self._next_look:
            told += self._look()
        return told + self._tell_dropped()

    @property
    def _ports(self) -> list[Port]:
        return [port for port in (self.microphone, self.speaker) if port is not None]

    def _look(self) -> list[str]:
        """Tries to open what is missing; for that, what is open must close for a moment."""
        missing = [port for port in self._ports if not port.is_open]
        for port in self._ports:
            port.close()
            self._disconnect(port)
        self._card.rescan()
        back = [port for port in self._ports if port.reopen()]
        alone = not any(port.is_open for port in self._ports)
        pause = RETRY_SECONDS if alone else DISTURBING_RETRY_SECONDS
        self._next_look = self._clock.now() + pause
        return [f"{port.name} is back" for port in back if port in missing]

    def _tell_dropped(self) -> list[str]:
        if self._told_dropped or not self.inlet.dropped:
            return []
        self._told_dropped = True
        factor = self.meter.real_time_factor
        return [
            f"this machine falls behind (real-time factor {factor:.2f}): the oldest sound that "
            "waits is dropped"
        ]

    def _start_input(self, device: Device) -> OpenDevice:
        def take(block: Pcm, lost: bool) -> None:
            assert self.microphone is not None
            self.microphone.alive()
            self.inlet.put(block, device.rate, lost=lost)

        return self._card.open_input(device, take)

    def _start_output(self, device: Device) -> OpenDevice:
        def fill(block: Pcm) -> None:
            assert self.speaker is not None
            self.speaker.alive()
            self.outlet.fill(block)

        opened = self._card.open_output(device, fill)
        self.outlet.connect(device.rate)
        return opened

    def _disconnect(self, port: Port) -> None:
        if port is self.speaker:
            self.outlet.connect(None)
        elif self._voice is not None:
            self.outlet.rest()
