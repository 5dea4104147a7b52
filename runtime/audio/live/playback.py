"""From a model's sound to the callback of an output device, which must only copy."""

import math
import threading
from collections import deque

import numpy as np

from ..pcm import Pcm
from ..resampler import Resampler
from .clock import Clock

AUDIBLE = 10 ** (-50 / 20)
"""The root mean square, about its mean, above which a piece of sound can be heard: a model that
says nothing may still be off zero."""

ECHO_SECONDS = 0.25
"""How long a room keeps sounding."""

POLL_SECONDS = 0.1


class PlaybackBuffer:
    """Queues sound for an output device, and counts what is played, dropped and missing.

    It begins to play once `prebuffer` seconds are there, plays silence and starts again if it runs
    dry, and drops the oldest down to `prebuffer` if more than `limit` seconds wait. `fill` may be
    called from any thread.

    Without a `limit` it is patient: what waits is kept for a device that comes back.
    """

    def __init__(self, prebuffer: float, limit: float | None) -> None:
        self.prebuffer, self.limit = prebuffer, limit
        self._queued_rate: int | None = None
        self._pieces: deque[Pcm] = deque()
        self._lock = threading.Lock()
        self._samples = 0
        self._playing = self._resting = False
        self.rate: int | None = None
        """The device's rate in Hz; None without a device."""
        self.played = 0.0
        """Seconds that a device took."""
        self.dropped = 0.0
        """Seconds that were thrown away: they came too late, or no device was there."""
        self.underruns = 0
        """How often it ran dry in the midst of sound."""

    @property
    def queued(self) -> float:
        """Seconds that wait to be played."""
        return self._samples / self._queued_rate if self._queued_rate else 0.0

    def connect(self, rate: int | None) -> None:
        """A device at `rate` takes over, or none. Sound that waits for another rate is dropped;
        without a device it is dropped unless the buffer is patient."""
        with self._lock:
            if rate != self._queued_rate and not (rate is None and self.limit is None):
                self._drop(self._samples)
                self._queued_rate = rate
            self.rate, self._playing = rate, False

    def put(self, pcm: Pcm, rate: int) -> None:
        """Queues samples [n] at the rate of the device; drops them if that has changed."""
        with self._lock:
            self._resting = False
            if rate != self.rate:
                self.dropped += len(pcm) / rate
                return
            self._pieces.append(pcm)
            self._samples += len(pcm)
            if self.limit is not None and self._samples > self.limit * rate:
                self._drop(self._samples - round(self.prebuffer * rate))

    def miss(self, seconds: float) -> None:
        """Counts sound that no device was there for."""
        self.dropped += seconds

    def flush(self) -> None:
        """What waits is all for now: it is played to its end, and silence after it is right."""
        self._resting = True

    def fill(self, out: Pcm) -> None:
        """Fills a block [n, channels] at the device's rate with what is to be played now."""
        with self._lock:
            done = self._copy(out) if self._may_play() else 0
            out[done:] = 0
            if self.rate is not None:
                self.played += done / self.rate
            if self._playing and done < len(out):
                self._playing = False
                self.underruns += not self._resting

    def _may_play(self) -> bool:
        if self.rate is None:
            return False
        if not self._playing and self._samples:
            full = self._samples >= self.prebuffer * self.rate
            self._playing = full or self._resting
        return self._playing

    def _copy(self, out: Pcm) -> int:
        """Moves what there is into a block; returns how many samples."""
        done = 0
        while self._pieces and done < len(out):
            piece = self._pieces[0]
            count = min(len(piece), len(out) - done)
            out[done : done + count] = piece[:count, None]
            self._advance(count)
            done += count
        return done

    def _advance(self, count: int) -> None:
        piece = self._pieces.popleft()
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        self._samples -= count

    def _drop(self, count: int) -> None:
        if self._queued_rate:
            self.dropped += count / self._queued_rate
        while count:
            step = min(count, len(self._pieces[0]))
            self._advance(step)
            count -= step


class Player:
    """Puts sound at a model's rate into a buffer, at the device's rate.

    `ahead` is for sound that is generated faster than it is played: `play` then waits for a device,
    and `wait` until at most that many seconds are queued. Without it, sound is dropped while there
    is no device.
    """

    def __init__(self, buffer: PlaybackBuffer, clock: Clock, rate: int) -> None:
        self._buffer, self._clock, self._rate = buffer, clock, rate
        self.ahead: float | None = None
        self._resampler: tuple[int, Resampler] | None = None
        self._audible_until = -math.inf

    def play(self, pcm: Pcm, latency: float) -> float:
        """Queues samples [n]; returns after how many seconds the last of them will be heard,
        `latency` being that of the device."""
        while self._buffer.rate is None and self.ahead is not None:
            self._clock.wait(POLL_SECONDS)
        device_rate = self._buffer.rate
        if device_rate is None:
            self._buffer.miss(len(pcm) / self._rate)
            return 0.0
        if self._resampler is None or self._resampler[0] != device_rate:
            self._resampler = (device_rate, Resampler(self._rate, device_rate))
        self._buffer.put(self._resampler[1].push(pcm), device_rate)
        after = self._buffer.queued + latency
        if len(pcm) and float(np.std(pcm)) > AUDIBLE:
            self._audible_until = self._clock.now() + after + ECHO_SECONDS
        return after

    def wait(self) -> None:
        """Returns when no more than `ahead` is queued."""
        while self.ahead is not None and self._buffer.queued > self.ahead:
            self._clock.wait(POLL_SECONDS)

    def is_audible(self, moment: float) -> bool:
        """Whether something could be heard from it at that moment of the clock."""
        return moment < self._audible_until

    def flush(self) -> None:
        """Nothing more for now: the last samples go to the device."""
        if self._resampler is not None:
            rate, resampler = self._resampler
            if len(last := resampler.flush()):
                self._buffer.put(last, rate)
        self._buffer.flush()

    def drain(self, latency: float) -> None:
        """Returns when all has been played."""
        self.flush()
        while self._buffer.queued > 0:
            self._clock.wait(POLL_SECONDS)
        self._clock.wait(latency)
