"""Cuts a stream of samples that arrives in pieces of any size into frames of one size."""

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import UsageError
from .pcm import Pcm, check_mono


class Framer:
    """Frames of `frame_size` samples; holds less than one frame between calls."""

    def __init__(self, frame_size: int) -> None:
        if frame_size < 1:
            raise UsageError(f"frame size {frame_size}: a frame has at least 1 sample")
        self._rest = np.zeros(frame_size, np.float32)
        self._pending = 0

    @property
    def frame_size(self) -> int:
        """Samples of a frame."""
        return len(self._rest)

    @property
    def pending(self) -> int:
        """Samples that wait for the rest of their frame."""
        return self._pending

    @property
    def waiting(self) -> Pcm:
        """Those samples [n]; a view until the next call."""
        return self._rest[: self._pending]

    def push(self, pcm: Pcm) -> Pcm:
        """Frames [k, frame_size] that samples [n] complete, k and n being 0 or more.

        The result is a copy: the caller may reuse `pcm`. Raises UsageError unless float32 [n].
        """
        check_mono(pcm)
        count = (self._pending + len(pcm)) // self.frame_size
        frames = np.empty((count, self.frame_size), np.float32)
        if count:
            pcm = self._fill(frames.reshape(-1), pcm)
        self._rest[self._pending : self._pending + len(pcm)] = pcm
        self._pending += len(pcm)
        return frames

    def flush(self, pad: bool) -> Pcm:
        """The last frame [1, frame_size], filled with zeros, or [0, frame_size]; then restarts.

        Without `pad`, and when nothing waits, there is no last frame.
        """
        last = self._rest[np.newaxis, :].copy()
        last[:, self._pending :] = 0
        count = int(pad and self._pending > 0)
        self.reset()
        return last[:count]

    def reset(self) -> None:
        """Forget the samples that wait."""
        self._pending = 0

    def _fill(self, flat: Pcm, pcm: Pcm) -> Pcm:
        """Fill whole frames from what waits and then `pcm`; returns what is left of `pcm`."""
        taken = len(flat) - self._pending
        flat[: self._pending] = self._rest[: self._pending]
        flat[self._pending :] = pcm[:taken]
        self._pending = 0
        return pcm[taken:]


def cut_frames(blocks: Iterable[Pcm], size: int) -> Iterator[Pcm]:
    """All samples of the blocks, `size` at a time; the last ones may be fewer."""
    framer = Framer(size)
    for block in blocks:
        yield from framer.push(block)
    if framer.pending:
        yield framer.waiting.copy()
