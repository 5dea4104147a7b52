"""What a microphone hears, as mono frames at a model's rate."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..framer import Framer
from ..pcm import Pcm
from ..resampler import Resampler
from .capture import Block, Inlet
from .clock import Clock

IDLE_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """Samples float32 [n], n being the frame's size but for a last one, and when the last of them
    had been spoken."""

    pcm: Pcm
    arrived: float


class Microphone:
    """Takes blocks of any rate and number of channels out of an inlet; channels are averaged, or
    the one that `channel` counts from 0 is taken. Ends after `stop`, with all that had come."""

    def __init__(
        self, inlet: Inlet, clock: Clock, rate: int, frame_size: int, channel: int | None = None
    ) -> None:
        self._inlet, self._clock = inlet, clock
        self._rate, self._channel = rate, channel
        self._framer = Framer(frame_size)
        self._resampler: tuple[int, Resampler] | None = None
        self._arrived = 0.0

    def stop(self) -> None:
        """Hears no more; from any thread."""
        self._inlet.close()

    def frames(self) -> Iterator[Frame]:
        """Frame after frame as they come; waits for them."""
        while True:
            closed = self._inlet.closed
            block = self._inlet.take()
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

    def _resampled(self, block: Block) -> Pcm:
        last = self._change_rate(block.rate)
        assert self._resampler is not None
        pcm = self._resampler[1].push(_mono(block.samples, self._channel))
        return np.concatenate([last, pcm]) if len(last) else pcm

    def _change_rate(self, rate: int | None) -> Pcm:
        """Begins another signal where the rate is another; returns the end of the one before."""
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
