"""From a microphone's callback, which must only copy, to mono frames at a model's rate."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..framer import Framer
from ..pcm import Pcm
from ..resampler import Resampler
from .clock import Clock

IDLE_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class CapturedBlock:
    """Samples [n, channels] at `rate` Hz, and when the last of them had come."""

    samples: Pcm
    rate: int
    arrived: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


class CaptureBuffer:
    """Keeps the newest `limit` seconds that nobody took yet; drops and counts the oldest beyond.

    `put` may be called from any thread.
    """

    def __init__(self, limit: float, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._blocks: deque[CapturedBlock] = deque()
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
        """Copies a block; `lost` means that the device lost sound before it."""
        block = CapturedBlock(samples.copy(), rate, self._clock.now())
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

    def take(self) -> CapturedBlock | None:
        """The oldest block; None if no block waits."""
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


@dataclass(frozen=True, eq=False)
class Frame:
    """Samples float32 [n], n being the frame's size but for a last one, and when the last of them
    had been spoken."""

    pcm: Pcm
    arrived: float


class Capture:
    """Takes blocks of any rate and number of channels out of a buffer; channels are averaged, or
    the one that `channel` counts from 0 is taken. Ends after `stop`, with all that had come."""

    def __init__(
        self,
        buffer: CaptureBuffer,
        clock: Clock,
        rate: int,
        frame_size: int,
        channel: int | None = None,
    ) -> None:
        self._buffer, self._clock = buffer, clock
        self._rate, self._channel = rate, channel
        self._framer = Framer(frame_size)
        self._resampler: tuple[int, Resampler] | None = None
        self._arrived = 0.0

    def stop(self) -> None:
        """Takes no more sound in; from any thread."""
        self._buffer.close()

    def frames(self) -> Iterator[Frame]:
        """Frame after frame as they come; waits for them."""
        while True:
            closed = self._buffer.closed
            block = self._buffer.take()
            if block is not None:
                yield from self._cut(self._resampled(block), block.arrived)
            elif closed:
                break
            else:
                self._clock.wait(IDLE_SECONDS)
        yield from self._cut(self._change_rate(None), self._arrived)
        if self._framer.pending:
            yield Frame(self._framer.waiting.copy(), self._arrived)

    def _cut(self, pcm: Pcm, arrived: float) -> Iterator[Frame]:
        self._arrived = arrived
        for frame in self._framer.push(pcm):
            yield Frame(frame, arrived)

    def _resampled(self, block: CapturedBlock) -> Pcm:
        last = self._change_rate(block.rate)
        assert self._resampler is not None
        pcm = self._resampler[1].push(_mono(block.samples, self._channel))
        return np.concatenate([last, pcm]) if len(last) else pcm

    def _change_rate(self, rate: int | None) -> Pcm:
        """Begins another signal if the rate changes; returns the end of the one before."""
        before = self._resampler
        if before is not None and before[0] == rate:
            return np.empty(0, np.float32)
        self._resampler = None if rate is None else (rate, Resampler(rate, self._rate))
        return before[1].flush() if before is not None else np.empty(0, np.float32)


def _mono(samples: Pcm, channel: int | None) -> Pcm:
    """[n] of a block [n, channels]; samples that are no numbers become silence."""
    if channel is not None and channel < samples.shape[1]:
        mono = samples[:, channel]
    else:
        mono = np.mean(samples, axis=1, dtype=np.float32)
    return np.ascontiguousarray(np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0))
