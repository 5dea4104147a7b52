"""Rings as they are saved: the filled part alone, the oldest entry first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bundle.manifest import StateSpec, axis_extent
from ..errors import UsageError

Array = np.ndarray[Any, Any]
State = dict[str, Array]
"""One row's states by name. A ring is its filled part alone, the oldest entry first."""

FURTHEST = 2**53 - 1
"""The longest stream: every reader of JSON holds its number of entries exactly."""


def unroll(value: Array, spec: StateSpec, whole: State) -> Array:
    """A state as it is saved, of a row's `value` and all of its states."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(whole[spec.ring.position])
    order = np.arange(max(0, count - spec.capacity), count) % spec.capacity
    filled: Array = np.take(value, order, axis=axis)
    return filled


def check_states(specs: Sequence[StateSpec], saved: State) -> None:
    """Raises UsageError where a saved row is not one of a graph with these states: one of another
    model, or damaged."""
    for spec in specs:
        if spec.input not in saved:
            raise UsageError(f"the saved state has no {spec.input}; it is of another model")
    for name in saved.keys() - {spec.input for spec in specs}:
        raise UsageError(f"the saved state has a {name}; it is of another model")
    for spec in sorted(specs, key=lambda spec: spec.ring is not None):
        _check_dtype(spec, saved[spec.input])
        _check_shape(spec, saved)


def _check_dtype(spec: StateSpec, value: Array) -> None:
    if (value.dtype == np.int8) != (spec.dtype == "int8"):
        raise UsageError(
            f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}: it goes on in "
            "a bundle with the same --kv-cache alone"
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
    """Raises UsageError where a saved state has another shape than this model's."""
    if found != expected:
        raise UsageError(
            f"the saved {spec.input} has shape {list(found)}, this model's is {list(expected)}"
        )
