"""What a model says, on its way to a speaker of any rate."""

import math

import numpy as np

from ..pcm import Pcm
from ..resampler import Resampler
from .clock import Clock
from .playback import Outlet

AUDIBLE = 10 ** (-50 / 20)
"""The root mean square, about its mean, above which a piece of sound can be heard: a model that
says nothing may still be off zero."""

ECHO_SECONDS = 0.25
"""For how long a room goes on sounding."""

POLL_SECONDS = 0.1


class Loudspeaker:
    """Puts sound at a model's rate into an outlet, at the speaker's rate.

    `ahead` makes `play` wait for a speaker, and `wait` until no more than so many seconds are
    queued, for what is made quicker than it is spoken; without it sound for which no speaker is
    there is missed.
    """

    def __init__(self, outlet: Outlet, clock: Clock, rate: int) -> None:
        self._outlet, self._clock, self._rate = outlet, clock, rate
        self.ahead: float | None = None
        self._resampler: tuple[int, Resampler] | None = None
        self._audible_until = -math.inf

    def play(self, pcm: Pcm, latency: float) -> float:
        """Queues samples [n]; returns after how many seconds the last of them will be heard,
        `latency` being that of the device."""
        while self._outlet.rate is None and self.ahead is not None:
            self._clock.wait(POLL_SECONDS)
        device_rate = self._outlet.rate
        if device_rate is None:
            self._outlet.miss(len(pcm) / self._rate)
            return 0.0
        if self._resampler is None or self._resampler[0] != device_rate:
            self._resampler = (device_rate, Resampler(self._rate, device_rate))
        self._outlet.put(self._resampler[1].push(pcm), device_rate)
        after = self._outlet.queued + latency
        if len(pcm) and float(np.std(pcm)) > AUDIBLE:
            self._audible_until = self._clock.now() + after + ECHO_SECONDS
        return after

    def wait(self) -> None:
        """Returns when no more than `ahead` is queued."""
        while self.ahead is not None and self._outlet.queued > self.ahead:
            self._clock.wait(POLL_SECONDS)

    def is_audible(self, moment: float) -> bool:
        """Whether something could be heard from it at that moment of the clock."""
        return moment < self._audible_until

    def rest(self) -> None:
        """Nothing more for now: the last samples go to the speaker."""
        if self._resampler is not None:
            rate, resampler = self._resampler
            if len(last := resampler.flush()):
                self._outlet.put(last, rate)
        self._outlet.rest()

    def drain(self, latency: float) -> None:
        """Returns when all was heard."""
        self.rest()
        while self._outlet.queued > 0:
            self._clock.wait(POLL_SECONDS)
        self._clock.wait(latency)
