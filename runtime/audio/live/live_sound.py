"""Live sound in and out of the machine, which continues as devices come and go.

Callbacks only copy into bounded queues. The work on the sound has a thread of its own; `tick` is
for another one, which looks after the devices.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ...errors import AudioError, UsageError
from ..pcm import Pcm
from .capture import Capture, CaptureBuffer, Frame
from .clock import Clock
from .devices import CALLED, Device, Direction, choose_device
from .meter import Meter
from .playback import PlaybackBuffer, Player
from .sound_card import Card, OpenDevice

KEPT_SECONDS = 2.0
"""Of sound that came in and waits for work, and of sound that waits to be played."""

PREBUFFER_SECONDS = 0.16
"""Two frames of Kyutai's models."""

AHEAD_SECONDS = 2.0
RETRY_SECONDS = 1.0
DISTURBING_RETRY_SECONDS = 5.0
"""Between two looks for a device, which stop another one that is open for a moment."""

GONE_SECONDS = 3.0
"""Without a callback for so long a device is gone; PulseAudio starts some after two seconds."""

Start = Callable[[Device], OpenDevice]


class ReconnectingDevice:
    """Opens the device that is wanted (see `choose_device`), and opens it again when it is back.

    Its callback calls `alive`. A device that was asked for by its number is looked for by its name
    once it has gone, as numbers change.
    """

    def __init__(
        self, card: Card, clock: Clock, direction: Direction, wanted: str | None, start: Start
    ) -> None:
        self.direction, self._wanted = direction, wanted
        self._card, self._clock, self._start = card, clock, start
        self._open: OpenDevice | None = None
        self._seen: float | None = None
        self._missed_since: float | None = None
        self.device: Device | None = None
        """The device that is or was open."""
        self.away = 0.0
        """Seconds without a device."""
        self.losses = 0
        """How often it went."""

    @property
    def name(self) -> str:
        """What messages call it."""
        found = f" {self.device.name}" if self.device else ""
        return f"the {CALLED[self.direction]}{found}"

    @property
    def is_open(self) -> bool:
        """Whether a device is there."""
        return self._open is not None

    @property
    def latency(self) -> float:
        """Seconds between the air and a callback."""
        return self._open.latency if self._open else 0.0

    def alive(self) -> None:
        """Notes that the device works; from its callback."""
        now = self._clock.now()
        if self._missed_since is not None:
            self.away += now - self._missed_since
            self._missed_since = None
        self._seen = now

    def open(self) -> None:
        """Starts the device; raises AudioError or UsageError if no device is the one that is
        wanted."""
        self.device = choose_device(self._card.devices(), self._wanted, self.direction)
        if self._wanted is not None:
            self._wanted = self.device.name
        self._open = self._start(self.device)
        self._seen = self._clock.now()

    def reopen(self) -> bool:
        """Tries to start it again; returns whether it did."""
        before = self.device
        try:
            self.open()
        except (AudioError, UsageError):
            self.device = before
            return False
        return True

    def has_gone(self) -> bool:
        """Whether an open device stopped, or is silent for too long."""
        if self._open is None or self._seen is None:
            return False
        return self._open.ended or self._clock.now() - self._seen > GONE_SECONDS

    def lose(self) -> None:
        """Gives up a device that has gone."""
        self.losses += 1
        self.close()

    def close(self) -> None:
        """Stops the device. Time counts as missed until the next one works."""
        if self._open is None:
            return
        self._open.close()
        self._open = None
        if self._missed_since is None:
            self._missed_since = self._seen


class LiveSound:
    """A microphone, an output device, or both, at the rate of a model."""

    def __init__(
        self, card: Card, clock: Clock, rate: int, frame_size: int, *, keep: float = KEPT_SECONDS
    ) -> None:
        self.meter = Meter(clock)
        self._card, self._clock, self._rate, self._frame_size = card, clock, rate, frame_size
        self.capture_buffer = CaptureBuffer(keep, clock)
        self.playback_buffer = PlaybackBuffer(PREBUFFER_SECONDS, keep)
        """Counts the seconds that are played, dropped and missing."""
        self.muted = 0.0
        """Seconds of the microphone that became silence since the output was heard."""
        self.microphone: ReconnectingDevice | None = None
        self.output_device: ReconnectingDevice | None = None
        self._capture: Capture | None = None
        self._player: Player | None = None
        self._half_duplex = False
        self._next_look = 0.0
        self._reported_dropped = False

    def open_microphone(
        self, wanted: str | None, *, channel: int | None = None, half_duplex: bool = False
    ) -> None:
        """Opens the microphone that is wanted (see `choose_device`). With `half_duplex` it gives
        silence while the output can be heard.

        Raises AudioError or UsageError if it is not available.
        """
        device = ReconnectingDevice(self._card, self._clock, "input", wanted, self._start_input)
        self._half_duplex = half_duplex
        self._capture = Capture(
            self.capture_buffer, self._clock, self._rate, self._frame_size, channel
        )
        self.microphone = device
        device.open()

    def open_output(self, wanted: str | None, *, wait: bool = False) -> None:
        """Opens the output device that is wanted. With `wait`, `play` returns only when little is
        queued.

        Raises AudioError or UsageError if it is not available.
        """
        device = ReconnectingDevice(self._card, self._clock, "output", wanted, self._start_output)
        self._player = Player(self.playback_buffer, self._clock, self._rate)
        self.output_device = device
        if wait:
            self.wait_for_output()
        device.open()

    def wait_for_output(self) -> None:
        """From now on `play` returns only when little is queued, and nothing is dropped: for what
        is made quicker than it is spoken."""
        self.playback_buffer.limit = None
        if self._player is not None:
            self._player.ahead = AHEAD_SECONDS

    def frames(self) -> Iterator[Frame]:
        """Frames of the microphone, one after the other, until `stop`."""
        assert self._capture is not None
        assert self.microphone is not None
        for frame in self._capture.frames():
            pcm, spoken = frame.pcm, frame.arrived - self.microphone.latency
            if self._half_duplex and self._player and self._player.is_audible(spoken):
                self.muted += len(pcm) / self._rate
                pcm = np.zeros_like(pcm)
            yield Frame(pcm, spoken)

    def play(self, pcm: Pcm) -> None:
        """Plays samples float32 [n]."""
        if self._player is None or self.output_device is None:
            return
        after = self._player.play(pcm, self.output_device.latency)
        if self._player.ahead is None:
            self.meter.note_answer(after)
        elif self._player.is_audible(self._clock.now()):
            self.meter.note_speech(after)
        self._player.wait()

    def flush(self) -> None:
        """Plays what is queued to its end: nothing more comes for now."""
        if self._player is not None:
            self._player.flush()

    def drain(self) -> None:
        """Returns when all has been played."""
        if self._player is not None and self.output_device is not None:
            self._player.drain(self.output_device.latency)

    def stop(self) -> None:
        """Takes no more sound in: `frames` ends with what had come; from any thread."""
        if self._capture is not None:
            self._capture.stop()

    def close(self) -> None:
        """Closes the devices."""
        for device in self._devices:
            device.close()

    def tick(self) -> list[str]:
        """Looks after the devices, several times a second; returns what to report."""
        messages = []
        for device in self._devices:
            if device.has_gone():
                device.lose()
                self._disconnect(device)
                messages.append(f"{device.name} has gone; waiting for it")
        if (
            any(not device.is_open for device in self._devices)
            and self._clock.now() >= self._next_look
        ):
            messages += self._look()
        return messages + self._report_dropped()

    @property
    def _devices(self) -> list[ReconnectingDevice]:
        return [device for device in (self.microphone, self.output_device) if device is not None]

    def _look(self) -> list[str]:
        """Tries to open what is missing; for that, what is open must close for a moment."""
        missing = [device for device in self._devices if not device.is_open]
        for device in self._devices:
            device.close()
            self._disconnect(device)
        self._card.rescan()
        back = [device for device in self._devices if device.reopen()]
        alone = not any(device.is_open for device in self._devices)
        pause = RETRY_SECONDS if alone else DISTURBING_RETRY_SECONDS
        self._next_look = self._clock.now() + pause
        return [f"{device.name} is back" for device in back if device in missing]

    def _report_dropped(self) -> list[str]:
        if self._reported_dropped or not self.capture_buffer.dropped:
            return []
        self._reported_dropped = True
        factor = self.meter.real_time_factor
        return [
            f"this machine falls behind (real-time factor {factor:.2f}): the oldest sound that "
            "waits is dropped"
        ]

    def _start_input(self, device: Device) -> OpenDevice:
        def take(block: Pcm, lost: bool) -> None:
            assert self.microphone is not None
            self.microphone.alive()
            self.capture_buffer.put(block, device.rate, lost=lost)

        return self._card.open_input(device, take)

    def _start_output(self, device: Device) -> OpenDevice:
        def fill(block: Pcm) -> None:
            assert self.output_device is not None
            self.output_device.alive()
            self.playback_buffer.fill(block)

        opened = self._card.open_output(device, fill)
        self.playback_buffer.connect(device.rate)
        return opened

    def _disconnect(self, device: ReconnectingDevice) -> None:
        if device is self.output_device:
            self.playback_buffer.connect(None)
        elif self._player is not None:
            self.playback_buffer.flush()
