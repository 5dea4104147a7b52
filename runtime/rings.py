"""Rings as they are saved: the filled part alone, the oldest entry first."""

from typing import Any

import numpy as np

from .errors import UsageError
from .manifest import StateSpec

Array = np.ndarray[Any, Any]
State = dict[str, Array]
"""One row's states by name. A ring is its filled part alone, the oldest entry first."""


def unroll(value: Array, spec: StateSpec, whole: State) -> Array:
    """A state as it is saved, of a row's `value` and all of its states."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(whole[spec.ring.position])
    order = np.arange(max(0, count - spec.capacity), count) % spec.capacity
    filled: Array = np.take(value, order, axis=axis)
    return filled


def roll(value: Array, spec: StateSpec, row_shape: tuple[int, ...], saved: State) -> Array:
    """The inverse of `unroll`, into a ring that may be larger or smaller than the one saved; raises
    UsageError where it does not fit."""
    if (value.dtype == np.int8) != (spec.dtype == "int8"):
        raise UsageError(
            f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}: it goes on in "
            "a bundle with the same --kv-cache alone"
        )
    if spec.ring is None:
        check_fit(spec, value.shape, row_shape)
        return value
    axis, count = spec.ring.axis - 1, int(saved[spec.ring.position])
    slots_shape = (*value.shape[:axis], row_shape[axis], *value.shape[axis + 1 :])
    check_fit(spec, slots_shape, row_shape)
    if value.shape[axis] > count:
        raise UsageError(
            f"the saved {spec.input} holds {value.shape[axis]} entries of a stream of {count}"
        )
    kept = min(value.shape[axis], spec.capacity)
    ring = np.full(row_shape, spec.initial, spec.dtype)
    slots = [slice(None)] * len(row_shape)
    slots[axis] = np.arange(count - kept, count) % spec.capacity  # type: ignore[call-overload]
    ring[tuple(slots)] = np.take(value, range(value.shape[axis] - kept, value.shape[axis]), axis)
    return ring


def check_fit(spec: StateSpec, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises UsageError where a saved state has another shape than this model's."""
    if found != expected:
        raise UsageError(
            f"the saved {spec.input} has shape {list(found)}, this model's is {list(expected)}"
        )
