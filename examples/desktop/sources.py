"""What is listened to: a microphone, or a recording at the pace at which it was spoken."""

import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol

from kyutai_onnx.runtime.audio import Framer, Pcm, read_audio
from kyutai_onnx.runtime.audio.live import Device, Frame, LiveSound, Meter, SoundCard, WallClock
from kyutai_onnx.runtime.audio.live.devices import HOSTS
from kyutai_onnx.runtime.audio.live.sound_card import Card

TICK_SECONDS = 0.2
BLOCK_SECONDS = 0.08

Report = Callable[[str], None]


class Source(Protocol):
    """Sound that is read once. `meter` knows how well the work on it keeps up."""

    name: str
    meter: Meter

    def frames(self, rate: int, frame_size: int, report: Report) -> Generator[Frame, None, None]:
        """Frame after frame of `frame_size` samples at `rate` Hz, until its end or `stop`; what a
        person should know is reported. Raises AudioError or UsageError if there is none.
        """

    def stop(self) -> None:
        """Ends it; from any thread."""


class Microphone:
    """The device of that name, or the system's own. One that goes is waited for."""

    def __init__(self, device: str | None, card: Card | None = None) -> None:
        self.name = device or "the microphone"
        self._device, self._card = device, card
        self._clock = WallClock()
        self.meter = Meter(self._clock)
        self._over = threading.Event()
        self._sound: LiveSound | None = None

    def frames(self, rate: int, frame_size: int, report: Report) -> Generator[Frame, None, None]:
        """See `Source.frames`."""
        sound = LiveSound(self._card or SoundCard(), self._clock, rate, frame_size)
        self.meter = sound.meter
        keeper = threading.Thread(target=self._look_after, args=(sound, report), daemon=True)
        try:
            sound.open_microphone(self._device)
            self._sound = sound
            keeper.start()
            if self._over.is_set():
                sound.stop()
            yield from sound.frames()
        finally:
            self._over.set()
            if keeper.is_alive():
                keeper.join()
            sound.close()

    def stop(self) -> None:
        """See `Source.stop`."""
        self._over.set()
        if self._sound is not None:
            self._sound.stop()

    def _look_after(self, sound: LiveSound, report: Report) -> None:
        while not self._over.wait(TICK_SECONDS):
            for note in sound.tick():
                report(note)


class Recording:
    """A file, at the pace at which it was spoken."""

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        self._path, self._clock = path, WallClock()
        self.meter = Meter(self._clock)
        self._over = threading.Event()

    def frames(self, rate: int, frame_size: int, report: Report) -> Generator[Frame, None, None]:  # noqa: ARG002
        """See `Source.frames`."""
        blocks = read_audio(self._path, rate, block_seconds=BLOCK_SECONDS)
        try:
            due = self._clock.now()
            for pcm in framed(blocks, frame_size):
                due += len(pcm) / rate
                if self._over.wait(max(0.0, due - self._clock.now())):
                    break
                yield Frame(pcm, due)
        finally:
            blocks.close()

    def stop(self) -> None:
        """See `Source.stop`."""
        self._over.set()


def framed(blocks: Iterator[Pcm], size: int) -> Iterator[Pcm]:
    """All samples, `size` at a time; the last ones may be fewer."""
    framer = Framer(size)
    for block in blocks:
        yield from framer.push(block)
    if framer.pending:
        yield framer.waiting.copy()


def microphones(card: Card) -> list[str]:
    """The names of what can be listened to, each once: Windows shows a device in each of its
    systems, of which the one that is chosen from counts."""
    able = [device for device in card.devices() if device.inputs]
    best = min(map(_rank, able), default=0)
    return list(dict.fromkeys(device.name for device in able if _rank(device) == best))


def _rank(device: Device) -> int:
    return HOSTS.index(device.host) if device.host in HOSTS else len(HOSTS)
