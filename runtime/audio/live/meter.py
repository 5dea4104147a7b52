"""How well a live loop keeps up, and how long sound takes to become words or sound."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from .clock import Clock

KEPT_FRAMES = 1000
"""Frames whose time of arrival is kept: far more than words lag behind."""

_NEWEST = 1000


class RunningStats:
    """Median of the newest thousand figures, greatest and count of all, in constant memory."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=_NEWEST)
        self.count = 0
        self.greatest = 0.0

    def add(self, value: float) -> None:
        """Adds a figure."""
        self._newest.append(value)
        self.count += 1
        self.greatest = max(self.greatest, value)

    @property
    def median(self) -> float:
        """Of the newest; 0 without any."""
        return median(self._newest) if self._newest else 0.0


class Meter:
    """Measures the work on each frame; lag is the time from the moment at which a frame had been
    spoken to the end of the work on it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.audio = 0.0
        """Seconds of sound that were worked on."""
        self.busy = 0.0
        """Seconds that the work took."""
        self.lag = RunningStats()
        self.to_word = RunningStats()
        """Seconds from the end of a word to the moment at which it is reported."""
        self.to_sound = RunningStats()
        """Seconds from a sound to the moment at which the one that answers it is heard."""
        self.text_to_sound = RunningStats()
        """Seconds from a text to the moment at which it begins to be heard."""
        self._asked: float | None = None
        self._begun = 0.0
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=KEPT_FRAMES)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for each second of sound; above 1 the machine falls behind."""
        return self.busy / self.audio if self.audio else 0.0

    @contextmanager
    def working(self, seconds: float, arrived: float) -> Iterator[None]:
        """Wraps the work on `seconds` of sound, the last of which came at `arrived`."""
        started = self._clock.now()
        self._begun += seconds
        self._arrivals.append((self._begun, arrived))
        try:
            yield
        finally:
            now = self._clock.now()
            self.busy += now - started
            self.audio += seconds
            self.lag.add(max(0.0, now - arrived))

    def note_word(self, end: float) -> None:
        """Notes that a word was reported that ended at `end` seconds of the sound."""
        arrived = next((when for until, when in self._arrivals if until >= end), None)
        if arrived is not None:
            self.to_word.add(max(0.0, self._clock.now() - arrived))

    def note_answer(self, ahead: float) -> None:
        """Notes that an answer was generated that will be heard after `ahead` seconds."""
        if self._arrivals:
            self.to_sound.add(max(0.0, self._clock.now() - self._arrivals[-1][1]) + ahead)

    def note_text(self) -> None:
        """Notes that a text waits to be spoken."""
        self._asked = self._clock.now()

    def note_speech(self, ahead: float) -> None:
        """Notes that speech of a text was generated that will be heard after `ahead` seconds."""
        if self._asked is not None:
            self.text_to_sound.add(self._clock.now() - self._asked + ahead)
            self._asked = None
