"""Tensors at fixed addresses: in memory that numpy shares, or in a device's own; the memory of
states.

A tensor on a device is reached only by copies, of the whole or of single rows.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cache
from typing import Any, Self

import numpy as np

from ..bundle.manifest import StateSpec, Target, axis_extent
from ..providers.provider import PROVIDERS, Provider, load_onnxruntime, make_session
from ..typing import Array

COPY = (
    b'\x08\x08:R\n\x1c\n\x06source\x12\x06target"\x08Identity:\x00\x12\x04copyZ\x15\n\x06source'
    b"\x12\x0b\n\t\x08\x02\x12\x05\n\x03\x12\x01nb\x15\n\x06target\x12\x0b\n\t\x08\x02\x12\x05\n"
    b"\x03\x12\x01nB\x04\n\x00\x10\x12"
)
"""An ONNX model that copies bytes: `copy (uint8[n] source) => (uint8[n] target)`. ONNX Runtime has
no other way to a part of a tensor on a device."""

FILLED_AT_ONCE = 1 << 26
"""Bytes above which a device is filled row by row, so that the host never holds as much."""


class Buffer:
    """A tensor in memory that numpy and ONNX Runtime share; `value` is ONNX Runtime's view."""

    device = "cpu"
    shared = True
    """Whether numpy sees what ONNX Runtime writes, and the reverse."""

    def __init__(self, shape: Sequence[int], dtype: str, initial: float = 0) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.value = self._make(initial)

    def _make(self, initial: float) -> Any:
        # Zeros take no memory before they are written: rows that no stream uses are free.
        self._array = np.zeros(self.shape, self.dtype)
        if initial:
            self._array[...] = initial
        return load_onnxruntime().OrtValue.ortvalue_from_numpy(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.read(), dtype, copy=copy)

    def stands_for(self, other: "Buffer") -> bool:
        """Whether a graph that takes the other may be given this one."""
        return (self.device, self.shape, self.dtype) == (other.device, other.shape, other.dtype)

    def view(self, start: int, stop: int) -> "Buffer":
        """Some of the rows, in the same memory."""
        return self if stop - start == self.shape[0] else BufferView(self._array[start:stop])

    def read(self) -> Array:
        """All of it; a view if memory is shared."""
        return self._array

    def write(self, value: Array) -> None:
        """Sets all of it, to what broadcasts to its shape."""
        self._array[...] = value

    def row(self, row: int) -> Array:
        """One row; a view if memory is shared."""
        one: Array = self._array[row]
        return one

    def read_row(self, row: int) -> Array:
        """A copy of one row."""
        return np.array(self.row(row))

    def write_rows(self, rows: Iterable[int], value: Array) -> None:
        """Sets each of these rows to what broadcasts to the shape of one."""
        self._array[list(rows)] = value

    def write_part(self, row: int, part: tuple[slice, ...], value: float) -> None:
        """Sets a part of a row, or all of it, to one value."""
        self._array[row][part] = value

    def copy_row(self, source: int, target: int, part: tuple[slice, ...] = ()) -> None:
        """Copies one row to another; of it, `part` is enough."""
        index = (slice(None), *part)
        self._array[target : target + 1][index] = self._array[source : source + 1][index]


class BufferView(Buffer):
    """Rows of another buffer, in its memory."""

    def __init__(self, array: Array) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.value = load_onnxruntime().OrtValue.ortvalue_from_numpy(array)


class DeviceBuffer(Buffer):
    """A tensor in the memory of a provider's device, which numpy does not reach."""

    shared = False

    def __init__(
        self, shape: Sequence[int], dtype: str, provider: Provider, initial: float = 0
    ) -> None:
        self.device, self._provider = provider.device, provider.name
        super().__init__(shape, dtype, initial)

    def _make(self, initial: float) -> Any:
        make = load_onnxruntime().OrtValue.ortvalue_from_shape_and_type
        self.value = make(list(self.shape), self.dtype.type, self.device, 0)
        if self._row_bytes * self.shape[0] <= FILLED_AT_ONCE:
            self.write(np.asarray(initial))
        else:
            self.write_rows(range(self.shape[0]), np.asarray(initial))
        return self.value

    def read(self) -> Array:
        array: Array = self.value.numpy()
        return array

    def write(self, value: Array) -> None:
        self.value.update_inplace(self._whole(value, self.shape))

    def row(self, row: int) -> Array:
        return self.read_row(row)

    def read_row(self, row: int) -> Array:
        array = np.empty(self.shape[1:], self.dtype)
        self._copy((self.device, self._address(row)), ("cpu", array.ctypes.data))
        return array

    def write_rows(self, rows: Iterable[int], value: Array) -> None:
        array = self._whole(value, self.shape[1:])
        for row in rows:
            self._copy(("cpu", array.ctypes.data), (self.device, self._address(row)))

    def write_part(self, row: int, part: tuple[slice, ...], value: float) -> None:  # noqa: ARG002
        self.write_rows([row], np.asarray(value))

    def copy_row(self, source: int, target: int, part: tuple[slice, ...] = ()) -> None:  # noqa: ARG002
        self._copy((self.device, self._address(source)), (self.device, self._address(target)))

    def _whole(self, value: Array, shape: tuple[int, ...]) -> Array:
        return np.array(np.broadcast_to(value, shape), self.dtype, order="C")

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def _address(self, row: int) -> int:
        if not 0 <= row < self.shape[0]:
            raise IndexError(f"row {row} of {self.shape[0]}")
        return int(self.value.data_ptr()) + row * self._row_bytes

    def _copy(self, source: tuple[str, int], target: tuple[str, int]) -> None:
        """Copies a row between two places, each a device and an address."""
        session = _copier(self._provider)
        binding, length = session.io_binding(), [self._row_bytes]
        for bind, name, (device, address) in (
            (binding.bind_input, "source", source),
            (binding.bind_output, "target", target),
        ):
            bind(name, device, 0, np.uint8, length, address)
        session.run_with_iobinding(binding)


@cache
def _copier(provider: Target) -> Any:
    return make_session(COPY, PROVIDERS[provider], threads=1)


Allocate = Callable[[str, Sequence[int], str, float], Buffer]
"""Makes the buffer of an input, from its name, shape, type and initial value."""


class StateBuffers:
    """A state's memory: one buffer if the graph may update it in place or never does, else two that
    take turns."""

    def __init__(self, spec: StateSpec, batch: int, allocate: Allocate) -> None:
        self.spec = spec
        shape = [axis_extent(spec.shape[0], batch, 1), *spec.row_shape]
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
        for start, stop in ((0, min(entries, capacity)), (capacity, self.spec.row_shape[axis])):
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
