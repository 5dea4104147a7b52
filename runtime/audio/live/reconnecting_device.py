"""One direction of live sound: a device that is open, or that is waited for."""

from collections.abc import Callable

from ...errors import AudioError, UsageError
from .clock import Clock
from .devices import CALLED, Device, Direction, choose_device
from .sound_card import Card, OpenDevice

GONE_SECONDS = 3.0
"""Without a callback for so long a device is gone; PulseAudio starts some after two seconds."""

Start = Callable[[Device], OpenDevice]


class Port:
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
        """Seconds in which there was none."""
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
        """Starts the device; raises AudioError or UsageError where there is none that is meant."""
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
