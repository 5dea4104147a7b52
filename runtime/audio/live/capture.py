"""What stands between a microphone's callback, which must only copy, and whoever listens."""

import threading
from collections import deque
from dataclasses import dataclass

from ..pcm import Pcm
from .clock import Clock


@dataclass(frozen=True, eq=False)
class Block:
    """Samples [n, channels] at `rate` Hz, and when the last of them had come."""

    samples: Pcm
    rate: int
    arrived: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


class Inlet:
    """Keeps the newest `limit` seconds that nobody took yet; drops the oldest beyond, and counts.

    `put` may be called from any thread.
    """

    def __init__(self, limit: float, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._blocks: deque[Block] = deque()
        self._lock = threading.Lock()
        self.closed = False
        """Whether nothing more comes in."""
        self.queued = 0.0
        """Seconds that wait to be taken."""
        self.received = 0.0
        """Seconds that came in."""
        self.dropped = 0.0
        """Seconds that were thrown away since nobody took them."""
        self.overflows = 0
        """How often the device itself lost sound before it could be copied."""

    def put(self, samples: Pcm, rate: int, *, lost: bool = False) -> None:
        """Copies a block; `lost` tells that the device lost sound before it."""
        block = Block(samples.copy(), rate, self._clock.now())
        with self._lock:
            if self.closed:
                return
            self.overflows += lost
            self.received += block.seconds
            self._blocks.append(block)
            self.queued += block.seconds
            while self.queued > self._limit and len(self._blocks) > 1:
                self.dropped += self._forget()
        self._clock.wake()

    def close(self) -> None:
        """Takes nothing more in; what waits stays."""
        with self._lock:
            self.closed = True
        self._clock.wake()

    def take(self) -> Block | None:
        """The oldest block, None where none waits."""
        with self._lock:
            if not self._blocks:
                self.queued = 0.0
                return None
            block = self._blocks[0]
            self._forget()
            return block

    def _forget(self) -> float:
        seconds = self._blocks.popleft().seconds
        self.queued -= seconds
        return seconds
