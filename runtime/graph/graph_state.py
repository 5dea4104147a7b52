"""The memory of the states of streams."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Self

import numpy as np

from ..bundle.manifest import StateSpec, axis_extent
from .buffers import Buffer
from .rings import row_shape

Array = np.ndarray[Any, Any]
Allocate = Callable[[str, Sequence[int], str, float], Buffer]
"""Makes the buffer of an input, from its name, shape, type and initial value."""


class StateBuffers:
    """A state's memory: one buffer where the graph may update it in place or never does, else two
    that take turns."""

    def __init__(self, spec: StateSpec, batch: int, allocate: Allocate) -> None:
        self.spec = spec
        self.row_shape = row_shape(spec)
        shape = [axis_extent(spec.shape[0], batch, 1), *self.row_shape]
        count = 2 if spec.carry == "replace" else 1
        made = [allocate(spec.input, shape, spec.dtype, spec.initial) for _ in range(count)]
        self.buffers = [made[0], made[-1]]

    def part(self, start: int, stop: int) -> Self:
        """Some of the rows, in the same memory."""
        part = copy(self)
        made = {id(buffer): buffer.part(start, stop) for buffer in self.buffers}
        part.buffers = [made[id(buffer)] for buffer in self.buffers]
        return part

    def reset(self, rows: Sequence[int], turn: int) -> None:
        """Rings are emptied apart, by `clear`. Constants stay."""
        if self.spec.ring is None and self.spec.carry != "constant":
            self.buffers[turn].write_rows(rows, np.asarray(self.spec.initial, self.spec.dtype))

    def clear(self, row: int, turn: int, entries: int) -> None:
        """Empties the slots of a ring that so many `entries` were written to, and those behind it.

        Attention weighs empty slots by 0, which is no help against a NaN. Integers have none.
        """
        assert self.spec.ring is not None
        if self.buffers[0].dtype.kind != "f":
            return
        axis, capacity = self.spec.ring.axis - 1, self.spec.capacity
        for start, stop in ((0, min(entries, capacity)), (capacity, self.row_shape[axis])):
            if start < stop:
                part = (*(slice(None),) * axis, slice(start, stop))
                self.buffers[turn].write_part(row, part, self.spec.initial)

    def read(self, row: int, turn: int) -> Array:
        return self.buffers[turn].read_row(row)

    def write(self, row: int, turn: int, value: Array) -> None:
        self.buffers[turn].write_rows([row], value)

    def move(self, source: int, target: int, turn: int, entries: int | None) -> None:
        """Copies a row over another; a ring was given so many `entries`, and holds no more."""
        filled: tuple[slice, ...] = ()
        if self.spec.ring is not None and entries is not None:
            filled = (slice(None),) * (self.spec.ring.axis - 1)
            filled += (slice(min(entries, self.spec.capacity)),)
        self.buffers[turn].copy_row(source, target, filled)

    def settle(self, start: int, stop: int, turn: int) -> None:
        """What a step wrote of some rows for the next turn is read at this one: of the others it
        wrote nothing."""
        if self.spec.carry == "replace":
            written = self.buffers[turn ^ 1].read()[start:stop]
            self.buffers[turn].read()[start:stop] = written

    def append(self, rows: Sequence[int], positions: Array) -> None:
        """Moves the entries behind the rings of rows to their slots."""
        assert self.spec.ring is not None
        buffer, last = self.buffers[0], self.spec.capacity
        for row in rows:
            whole = buffer.row(row)
            slots = whole.swapaxes(0, self.spec.ring.axis - 1)
            slots[positions[row] % last] = slots[last]
            if not buffer.shared:
                buffer.write_rows([row], whole)
