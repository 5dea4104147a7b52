"""The codec over the rows of a batch: one call encodes, or decodes, for all rows that need it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...runtime.graph.batch_state import State
from ...runtime.typing import Array
from ..lm.generation import Fail
from .frame_queue import FrameQueue
from .model import Direction, Mimi

Given = dict[int, Array]
AT_ONCE = 32
"""Frames of all rows together that one call encodes at most, so that a stream that is live waits
little for recordings beside it."""


class BatchedCodec:
    """Rows of one direction of the codec; the first `used` are stepped."""

    def __init__(self, mimi: Mimi, direction: Direction, rows: int) -> None:
        self.used = rows
        self._most = mimi.open(direction).max_frames
        self._streams = mimi.batch_state(direction, rows)

    def use(self, rows: int) -> None:
        self._streams.use_rows(rows)
        self.used = rows

    def move(self, source: int, target: int) -> None:
        self._streams.move(source, target)

    def reset(self, row: int) -> None:
        self._streams.reset([row])

    def save(self, row: int) -> State:
        return self._streams.save(row)

    def load(self, row: int, saved: State) -> None:
        self._streams.load(row, saved)

    def _each(
        self, given: Given, run: Callable[[Given], dict[int, Array]], fail: Fail | None
    ) -> dict[int, Array]:
        """What `run` makes of rows by their places. If the graph fails it is run for each row
        alone, and `fail` takes those for which it fails again."""
        try:
            return run(given)
        except Exception as error:
            if fail is None:
                raise
            if len(given) == 1 or not self._streams.repeats:
                for row in given:
                    fail(row, error)
                return {}
        alone = [self._each({row: one}, run, fail) for row, one in given.items()]
        return {row: made for found in alone for row, made in found.items()}

    def _active(self, rows: Mapping[int, Any]) -> Array:
        active = np.zeros(self.used, np.bool_)
        active[list(rows)] = True
        return active


class BatchedEncoder(BatchedCodec):
    """Samples in, codes out."""

    def __init__(self, mimi: Mimi, rows: int, codebooks: int) -> None:
        super().__init__(mimi, "encode", rows)
        self._codebooks, self._size = codebooks, mimi.frame_size

    def step(self, queues: Mapping[int, FrameQueue], fail: Fail | None = None) -> None:
        """Encode frames of the rows whose queues have frames and no codes, in one call.

        The call takes as many frames as each of them has; a queue with as many frames joins it and
        is ahead. `fail` takes rows for which the graph fails.
        """
        needed = [
            queue.unencoded for queue in queues.values() if queue.unencoded and not queue.encoded
        ]
        if not needed:
            return
        count = self._count(min(needed))
        chosen = {
            row: queue
            for row, queue in queues.items()
            if queue.unencoded >= count and queue.encoded < count
        }
        frames = {row: queue.frames(count).reshape(-1) for row, queue in chosen.items()}
        for row, codes in self._each(frames, self._encode, fail).items():
            chosen[row].put_codes(codes)

    def _encode(self, frames: dict[int, Array]) -> dict[int, Array]:
        """Codes `[frames, codebooks]` of samples `[n]`, as many of each row."""
        length = len(next(iter(frames.values())))
        pcm = np.zeros((self.used, 1, length), np.float32)
        for row, samples in frames.items():
            pcm[row, 0] = samples
        codes = self._streams.step({"pcm": pcm}, self._active(frames))["codes"]
        return {row: codes[row, : self._codebooks].T.copy() for row in frames}

    def _count(self, frames: int) -> int:
        """How many of so many frames are encoded at once: a power of two, so that few numbers of
        frames and rows occur, for each of which buffers are kept."""
        most = min(frames, self._most, max(1, AT_ONCE // self.used))
        return 1 << (most.bit_length() - 1)


class BatchedDecoder(BatchedCodec):
    """Codes in, samples out."""

    def __init__(self, mimi: Mimi, rows: int) -> None:
        super().__init__(mimi, "decode", rows)
        self._codebooks = mimi.codebooks

    def step(self, given: dict[int, Array], fail: Fail | None = None) -> dict[int, Array]:
        """The samples float32 `[frame_size]` of rows, of the codes `[codebooks]` of each: the first
        ones, if fewer than the codec has. `fail` takes rows for which the graph fails."""
        return self._each(given, self._decode, fail) if given else {}

    def _decode(self, given: dict[int, Array]) -> dict[int, Array]:
        whole = np.full((self.used, self._codebooks, 1), -1, np.int64)
        for row, codes in given.items():
            whole[row, : len(codes), 0] = codes
        pcm = self._streams.step({"codes": whole}, self._active(given))["pcm"]
        return {row: pcm[row, 0].copy() for row in given}
