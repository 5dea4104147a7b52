"""What stands between whoever speaks and a speaker's callback, which must only copy."""

import threading
from collections import deque

from ..pcm import Pcm


class Outlet:
    """Queues sound for a speaker: begins to play once `prebuffer` seconds are there, plays silence
    and begins anew where it runs dry, and throws the oldest away down to `prebuffer` where more
    than `limit` seconds wait. All of it is counted. `fill` may be called from any thread.

    Without a `limit` it is patient: what waits is kept for a speaker that comes back.
    """

    def __init__(self, prebuffer: float, limit: float | None) -> None:
        self.prebuffer, self.limit = prebuffer, limit
        self._queued_rate: int | None = None
        self._pieces: deque[Pcm] = deque()
        self._lock = threading.Lock()
        self._samples = 0
        self._playing = self._resting = False
        self.rate: int | None = None
        """The speaker's rate in Hz; None while there is no speaker."""
        self.played = 0.0
        """Seconds that a speaker took."""
        self.dropped = 0.0
        """Seconds that were thrown away: they came too late, or no speaker was there."""
        self.underruns = 0
        """How often it ran dry in the midst of sound."""

    @property
    def queued(self) -> float:
        """Seconds that wait to be played."""
        return self._samples / self._queued_rate if self._queued_rate else 0.0

    def connect(self, rate: int | None) -> None:
        """A speaker at `rate` takes over, or none. What waits for one at another rate is dropped,
        as it is for none unless the outlet is patient."""
        with self._lock:
            if rate != self._queued_rate and not (rate is None and self.limit is None):
                self._drop(self._samples)
                self._queued_rate = rate
            self.rate, self._playing = rate, False

    def put(self, pcm: Pcm, rate: int) -> None:
        """Queues samples [n] at the rate of the speaker; drops them where that is another now."""
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
        """Counts sound that no speaker was there for."""
        self.dropped += seconds

    def rest(self) -> None:
        """What waits is all for now: it is played to its end, and silence after it is right."""
        self._resting = True

    def fill(self, out: Pcm) -> None:
        """Fills a block [n, channels] at the speaker's rate with what is to be played now."""
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
