"""Safetensors files, alone or in shards."""

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ...runtime.bundle.dataclass_json import parse_json, parse_object, read_bounded
from ...runtime.bundle.manifest import is_inside
from ...runtime.errors import ModelError
from ...runtime.hub import RemoteFile
from ...runtime.typing import Array
from .tensor_views import Shape, Tensors, one_line, some

DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "F8_E4M3": np.uint8,
    "F8_E5M2": np.uint8,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""What each type is read as, before it is widened to float32 if it is a float."""
MOST_HEADER = 100_000_000
"""Bytes of the header of a file, as the format limits it."""


@dataclass(frozen=True)
class SafetensorsEntry:
    """A tensor of the file; `start` and `stop` count bytes from the beginning of the file."""

    dtype: str
    shape: Shape
    start: int
    stop: int


def as_float32(values: Array, dtype: str) -> Array:
    """The values of a tensor as it is stored, floats as float32, without loss but of F64."""
    if dtype == "BF16":
        return np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    if dtype == "F8_E5M2":
        return np.left_shift(values, 8, dtype=np.uint16).view(np.float16).astype(np.float32)
    if dtype == "F8_E4M3":
        return FLOATS_OF_E4M3[values]
    return values.astype(np.float32, copy=False) if dtype.startswith("F") else values


def _floats_of_e4m3() -> Array:
    """All 256 numbers of a sign, 4 bits of exponent and 3 of fraction, without infinities."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    normal = (1 + fraction / 8) * 2.0 ** (exponent - 7)
    values = np.where(exponent == 0, fraction / 8 * 2.0**-6, normal)
    values[codes & 127 == 127] = np.nan
    return np.where(codes < 128, values, -values).astype(np.float32)


FLOATS_OF_E4M3 = _floats_of_e4m3()


def _placed(entry: SafetensorsEntry, dtype: np.dtype[Any], rows: slice | None) -> tuple[int, Shape]:
    """Where a tensor, or some rows of it, begins in the file, and its shape."""
    if rows is None:
        return entry.start, entry.shape
    first, stop, _ = rows.indices(entry.shape[0])
    row = math.prod(entry.shape[1:]) * dtype.itemsize
    return entry.start + first * row, (max(stop - first, 0), *entry.shape[1:])


def _known(name: str, stored: str) -> str:
    if stored not in DTYPES:
        raise ModelError(f"{name} is stored as {stored}, which is not read")
    return stored


class _Tensors:
    """The tensors of a safetensors file by the entries of its header."""

    def __init__(self, entries: dict[str, SafetensorsEntry]) -> None:
        self._entries = entries
        self._shapes = {name: entry.shape for name, entry in entries.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        return _known(name, self._entries[name].dtype)

    def read(self, name: str, rows: slice | None = None) -> Array:
        entry, dtype = self._entries[name], np.dtype(DTYPES[self.dtype(name)])
        start, shape = _placed(entry, dtype, rows)
        return as_float32(self._values(start, math.prod(shape), dtype).reshape(shape), entry.dtype)

    def _values(self, start: int, count: int, dtype: np.dtype[Any]) -> Array:
        """So many numbers from a byte of the file on."""
        raise NotImplementedError


class SafetensorsFile(_Tensors):
    """One safetensors file, of which a tensor is read when it is asked for.

    Raises:
        ModelError: the file is missing, cut short, or not of that format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with safe_open(path, framework="np"):
                super().__init__(_read_entries(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"{path} is not a whole safetensors file: {one_line(error)}"
            ) from error

    def _values(self, start: int, count: int, dtype: np.dtype[Any]) -> Array:
        values = np.fromfile(self._path, dtype, count, offset=start)
        if len(values) < count:
            raise ModelError(f"{self._path} became shorter while it was read")
        return values


def _read_entries(path: Path) -> dict[str, SafetensorsEntry]:
    """The header of a file that the library has checked, which keeps the offsets to itself."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return _entries(json.loads(file.read(length)), 8 + length)


def _entries(header: dict[str, Any], start: int) -> dict[str, SafetensorsEntry]:
    """The tensors of a header, whose data begins at `start`."""
    header.pop("__metadata__", None)
    return {
        name: SafetensorsEntry(
            entry["dtype"],
            tuple(entry["shape"]),
            *(start + operator.index(offset) for offset in entry["data_offsets"]),
        )
        for name, entry in header.items()
    }


class RemoteSafetensors(_Tensors):
    """A safetensors file of the Hub, of which the header and single tensors are downloaded.

    Raises:
        ModelError: the file is not of that format, or cannot be reached.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        try:
            super().__init__(self._read_header())
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ModelError(
                f"{file.name} of {file.repo} is not a safetensors file: {one_line(error)}"
            ) from None

    def _values(self, start: int, count: int, dtype: np.dtype[Any]) -> Array:
        size = count * dtype.itemsize
        return np.frombuffer(self._file.read(start, start + size) if size else b"", dtype)

    def _read_header(self) -> dict[str, SafetensorsEntry]:
        """The tensors by name; raises ValueError and others for what is no header."""
        length = int.from_bytes(self._file.read(0, 8), "little")
        if not 0 < length <= min(MOST_HEADER, self._file.size - 8):
            raise ValueError(f"a header of {length} bytes")
        entries = _entries(parse_object(self._file.read(8, 8 + length)), 8 + length)
        end = 8 + length
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
            _check_shape(name, entry)
            if entry.start != end or entry.stop < end:
                raise ValueError(f"the place of {name}")
            end = entry.stop
        if end != self._file.size:
            raise ValueError(f"{self._file.size} bytes instead of {end}")
        return entries


def _check_shape(name: str, entry: SafetensorsEntry) -> None:
    """Raise ValueError for a shape that is invalid, or of another size than the tensor."""
    if not all(type(extent) is int and extent >= 0 for extent in entry.shape):
        raise ValueError(f"the shape of {name}")
    dtype = DTYPES.get(entry.dtype)
    size = entry.stop - entry.start
    if dtype is not None and size != math.prod(entry.shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"the size of {name}, {size} bytes")


class SafetensorsShards:
    """Several safetensors files and the index that says which holds what.

    `open_file` opens a file of the index by its name; by default the neighbour of the index.

    Raises:
        ModelError: the index or a file is missing or damaged, or they disagree.
    """

    def __init__(self, index: Path, open_file: Callable[[str], Tensors] | None = None) -> None:
        places = _read_index(index)
        open_file = open_file or (lambda name: SafetensorsFile(index.parent / name))
        files = {name: open_file(name) for name in sorted(set(places.values()))}
        self._holders = {name: files[place] for name, place in places.items()}
        lost = [name for name, holder in self._holders.items() if name not in holder.shapes()]
        if lost:
            raise ModelError(f"{index} names tensors that its files lack: {some(lost)}")
        self._shapes = {name: holder.shapes()[name] for name, holder in self._holders.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        return self._holders[name].dtype(name)

    def read(self, name: str, rows: slice | None = None) -> Array:
        return self._holders[name].read(name, rows)


def _read_index(index: Path) -> dict[str, str]:
    try:
        content = parse_json(read_bounded(index))
    except (OSError, ValueError) as error:
        raise ModelError(f"{index} is not an index of safetensors: {one_line(error)}") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} is not an index of safetensors: it has no weight_map of names")
    if outside := [name for name in places.values() if not is_inside(name)]:
        raise ModelError(f"{index} names the file {outside[0][:100]!r}, which is not beside it")
    return places
