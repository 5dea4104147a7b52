"""Reads arrays of an untrusted `.npz` file: sizes are checked before anything is expanded."""

import math
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .typing import Array

MOST_ARRAYS = 100_000
_MOST_AXES = 32
MOST_EXPANDED = 1 << 29
"""Bytes that a compressed file may expand to; one that is not compressed may have any size."""

CHUNK = 1 << 20
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1
KINDS = "biuf"
"""Booleans, integers and floating-point numbers: no objects, texts, dates or records."""


def read_arrays(source: Path | str | IO[bytes]) -> dict[str, Array]:
    """Reads every array by its name.

    Raises ValueError with a cause of one line if it is not such a file, is damaged, holds anything
    but numbers, or expands to more than `MOST_EXPANDED` bytes; OSError if it cannot be read.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _check_entries(entries, _size(archive))
            return {entry.filename.removesuffix(".npy"): _read(archive, entry) for entry in entries}
    except OSError:
        raise
    except (
        Exception
    ) as error:  # zipfile and numpy raise whatever its parts do: struct, zlib, EOFError, ...
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(cause[:200]) from None  # it may quote a name of 64 KB


def _size(archive: zipfile.ZipFile) -> int:
    file = archive.fp
    assert file is not None
    return file.seek(0, 2)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if len(entries) > MOST_ARRAYS:
        raise ValueError(f"{len(entries)} arrays, at most {MOST_ARRAYS}")
    if any(entry.flag_bits & ENCRYPTED for entry in entries):
        raise ValueError("it is encrypted")
    if any(entry.compress_type not in METHODS for entry in entries):
        raise ValueError("it is compressed in another way than deflate")
    expanded = sum(entry.file_size for entry in entries)
    if expanded > max(size, MOST_EXPANDED):
        raise ValueError(f"it expands to {expanded} bytes, at most {MOST_EXPANDED}")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """One array, whose header must fit the size of its entry before anything is allocated."""
    with archive.open(entry) as file:
        shape, fortran, dtype = _header(file)
        if dtype.kind not in KINDS or dtype.fields or dtype.subdtype:
            raise ValueError(f"{entry.filename}: {dtype} is not a type of numbers")
        if len(shape) > _MOST_AXES or any(extent < 0 for extent in shape):
            raise ValueError(f"{entry.filename}: no array has the shape {shape}")
        size = math.prod(shape) * dtype.itemsize
        if size != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename}: its shape does not fit its size")
        content = np.empty(size, np.uint8)
        _fill(content, file)
    return content.view(dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of an array's format is not read")
    with warnings.catch_warnings(action="ignore"):  # headers that Python 2 wrote
        return HEADERS[version](file)


def _fill(content: Array, file: IO[bytes]) -> None:
    left = content.data
    while left:
        part = file.read(min(len(left), CHUNK))
        if not part:
            raise ValueError("it is cut short")
        left[: len(part)] = part
        left = left[len(part) :]
    if file.read(1):  # reads to the end, where the checksum is compared
        raise ValueError("an array is longer than its entry")
