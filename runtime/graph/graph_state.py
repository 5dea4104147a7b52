"""States that a graph carries from step to step: their buffers, and how a row of them is saved."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import numpy as np

from ..bundle.manifest import StateSpec, axis_extent
from ..errors import UsageError
from ..typing import Array
from .buffers import Buffer

State = dict[str, Array]
"""One row's states by name. Of a ring it has only the filled part, the oldest entry first."""

FURTHEST = 2**53 - 1
"""The longest stream: every reader of JSON holds its number of entries exactly."""

Allocate = Callable[[str, Sequence[int], str, float], Buffer]
"""Makes the buffer of an input, from its name, shape, type and initial value."""


class StateBuffers:
    """A state's memory: one buffer if the graph may update it in place or never does, else two that
    take turns."""

    def __init__(self, spec: StateSpec, batch: int, allocate: Allocate) -> None:
        self.spec = spec
        self.row_shape = row_shape(spec)
        shape = [axis_extent(spec.shape[0], batch, 1), *self.row_shape]
        count = 2 if spec.carry == "replace" else 1
        made = [allocate(spec.input, shape, spec.dtype, spec.initial) for _ in range(count)]
        self.buffers = [made[0], made[-1]]

    def view(self, start: int, stop: int) -> Self:
        """Some of the rows, in the same memory."""
        rows = copy(self)
        views = {id(buffer): buffer.view(start, stop) for buffer in self.buffers}
        rows.buffers = [views[id(buffer)] for buffer in self.buffers]
        return rows

    def reset(self, rows: Sequence[int], turn: int) -> None:
        """Rings are emptied apart, by `clear`. Constants stay."""
        if self.spec.ring is None and self.spec.carry != "constant":
            self.buffers[turn].write_rows(rows, np.asarray(self.spec.initial, self.spec.dtype))

    def clear(self, row: int, turn: int, entries: int) -> None:
        """Empties the slots of a ring that took `entries` entries, and the slots behind it.

        Attention weighs empty slots by 0, which does not help against a NaN. Integers cannot be
        NaN.
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
        """Copies a row over another; a ring was given `entries` entries, and holds no more."""
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


def unroll(value: Array, spec: StateSpec, whole: State) -> Array:
    """A state as it is saved, of a row's `value` and all of its states."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(whole[spec.ring.position])
    order = np.arange(max(0, count - spec.capacity), count) % spec.capacity
    filled: Array = np.take(value, order, axis=axis)
    return filled


def check_states(specs: Sequence[StateSpec], saved: State) -> None:
    """Raises UsageError if a saved row is damaged or does not fit a graph with these states."""
    for spec in specs:
        if spec.input not in saved:
            raise UsageError(f"the saved state has no {spec.input}; another model saved it")
    for name in saved.keys() - {spec.input for spec in specs}:
        raise UsageError(f"the saved state has a {name}; another model saved it")
    for spec in sorted(specs, key=lambda spec: spec.ring is not None):
        _check_dtype(spec, saved[spec.input])
        _check_shape(spec, saved)


def _check_dtype(spec: StateSpec, value: Array) -> None:
    if (value.dtype == np.int8) != (spec.dtype == "int8"):
        raise UsageError(
            f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}: load it "
            "with a bundle of the same --kv-cache"
        )
    if value.dtype.kind != np.dtype(spec.dtype).kind:
        raise UsageError(f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}")


def _check_shape(spec: StateSpec, saved: State) -> None:
    found, expected = saved[spec.input].shape, row_shape(spec)
    if spec.ring is None:
        check_fit(spec, found, expected)
        return
    axis = spec.ring.axis - 1
    slots = (*found[:axis], expected[axis], *found[axis + 1 :])
    check_fit(spec, slots, expected)
    count = int(saved[spec.ring.position])
    if found[axis] > count or count > FURTHEST:
        raise UsageError(
            f"the saved {spec.input} holds {found[axis]} entries of a stream of {count}"
        )


def row_shape(spec: StateSpec) -> tuple[int, ...]:
    """The shape of one row of a state."""
    return tuple(axis_extent(axis, 1, 1) for axis in spec.shape[1:])


def roll(value: Array, spec: StateSpec, saved: State) -> Array:
    """The inverse of `unroll`, into a ring that may be larger or smaller than the one saved; of a
    state that `check_states` found right."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(saved[spec.ring.position])
    kept = min(value.shape[axis], spec.capacity)
    ring = np.full(row_shape(spec), spec.initial, spec.dtype)
    slots = [slice(None)] * ring.ndim
    slots[axis] = np.arange(count - kept, count) % spec.capacity  # type: ignore[call-overload]
    ring[tuple(slots)] = np.take(value, range(value.shape[axis] - kept, value.shape[axis]), axis)
    return ring


def check_fit(spec: StateSpec, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises UsageError if a saved state has another shape than this model's."""
    if found != expected:
        raise UsageError(
            f"the saved {spec.input} has shape {list(found)}, this model's is {list(expected)}"
        )
