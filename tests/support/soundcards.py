"""A sound card and a clock without hardware or time, which drive the live loop step by step."""

import heapq
import itertools
from collections.abc import Callable

import numpy as np
from support.speech import RATE, Array

from kyutai_onnx.runtime.audio.live.devices import Device
from kyutai_onnx.runtime.audio.live.live_sound import LiveSound
from kyutai_onnx.runtime.audio.live.sound_card import CaptureCallback, OpenDevice, PlaybackCallback
from kyutai_onnx.runtime.errors import AudioError

SIZE = 1920
BLOCK_SECONDS = 0.025
LATENCY = 0.0625
MIC = Device(0, "Desk Microphone", "ALSA", 1, 0, RATE, ("input",))
BOX = Device(1, "Loud Box", "ALSA", 0, 1, RATE, ("output",))


class FakeClock:
    """Stands still until somebody waits or works; what was planned for that time happens then."""

    def __init__(self) -> None:
        self._now, self._woken = 0.0, False
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def wake(self) -> None:
        self._woken = True

    def wait(self, seconds: float) -> None:
        self._run(self._now + seconds, until_woken=True)
        self._woken = False

    def work(self, seconds: float) -> None:
        """Time passes that a computation takes."""
        self._run(self._now + seconds, until_woken=False)

    def at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._planned, (moment, next(self._numbers), act))

    def every(self, seconds: float, act: Callable[[], object], *, start: float = 0.0) -> None:
        def again() -> None:
            act()
            self.at(self._now + seconds, again)

        self.at(start, again)

    def _run(self, end: float, *, until_woken: bool) -> None:
        while not (until_woken and self._woken):
            if not self._planned or self._planned[0][0] > end:
                self._now = end
                return
            moment, _, act = heapq.heappop(self._planned)
            self._now = max(self._now, moment)
            act()


class FakeCard:
    """Devices that come and go. A microphone hears the number of each sample since the clock began;
    what a speaker plays is kept, with the moment at which each block was asked for."""

    def __init__(self, clock: FakeClock, *devices: Device) -> None:
        self.plugged = list(devices)
        self.played: list[tuple[float, Array]] = []
        self.open: list[FakeOpen] = []
        self._clock, self._known = clock, list(devices)

    def devices(self) -> list[Device]:
        return self._known

    def rescan(self) -> None:
        assert self.open == [], "PortAudio cannot look for devices while one is open"
        self._known = list(self.plugged)

    def unplug(self, device: Device, *, dead: bool = False) -> None:
        """`dead` leaves a stream that says it is active, and never calls back."""
        self.plugged.remove(device)
        for stream in self.open:
            if stream.device == device:
                stream.works, stream.ended = False, not dead

    def plug(self, device: Device) -> None:
        self.plugged.append(device)

    def open_input(self, device: Device, take: CaptureCallback) -> OpenDevice:
        def call() -> None:
            now = self._clock.now()
            numbers = np.arange(
                round((now - BLOCK_SECONDS) * device.rate), round(now * device.rate)
            )
            block = np.repeat(numbers.astype(np.float32)[:, None], device.inputs, axis=1)
            take(block, False)
            block[:] = np.nan  # valid until it returns

        return self._start(device, call)

    def open_output(self, device: Device, fill: PlaybackCallback) -> OpenDevice:
        def call() -> None:
            block = np.full((round(BLOCK_SECONDS * device.rate), device.outputs), np.nan)
            block = block.astype(np.float32)
            fill(block)
            self.played.append((self._clock.now(), block))

        return self._start(device, call)

    @property
    def sound(self) -> Array:
        """All that was played, of the first channel."""
        return np.concatenate([block[:, 0] for _, block in self.played])

    def _start(self, device: Device, call: Callable[[], None]) -> OpenDevice:
        if device not in self.plugged:
            raise AudioError(f"{device} does not start")
        stream = FakeOpen(self, device)
        self.open.append(stream)

        def again() -> None:
            if stream.works:
                call()
                self._clock.at(self._clock.now() + BLOCK_SECONDS, again)

        self._clock.at(self._clock.now() + BLOCK_SECONDS, again)
        return stream


class FakeOpen:
    latency = LATENCY

    def __init__(self, card: FakeCard, device: Device) -> None:
        self.device, self.works, self.ended = device, True, False
        self._card = card

    def close(self) -> None:
        self.works = False
        if self in self._card.open:
            self._card.open.remove(self)


class Room:
    """A live sound on fake devices, whose supervisor ticks five times a second."""

    def __init__(self, *devices: Device) -> None:
        self.clock = FakeClock()
        self.card = FakeCard(self.clock, *(devices or (MIC, BOX)))
        self.sound = LiveSound(self.card, self.clock, RATE, SIZE)
        self.reported: list[tuple[float, str]] = []
        self.clock.every(0.2, self._tick)

    def _tick(self) -> None:
        self.reported += [(self.clock.now(), line) for line in self.sound.tick()]

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.reported]

    def listen_for(
        self, seconds: float, work: Callable[[float], float] = lambda _: 0.0, *, echo: bool = False
    ) -> Array:
        """Hears until a moment, `work` saying how long the work on a frame takes at a moment;
        with `echo` every frame is said again, scaled to be a sound. Returns what was heard."""
        self.clock.at(seconds, self.sound.stop)
        captured = []
        for frame in self.sound.frames():
            captured.append(frame.pcm)
            with self.sound.meter.working(len(frame.pcm) / RATE, frame.arrived):
                self.clock.work(work(self.clock.now()))
                if echo:
                    self.sound.play(frame.pcm / 2**24)
        return np.concatenate(captured)
