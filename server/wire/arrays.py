"""Arrays of numbers in msgpack, read and written without a Python object for each."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgpack
import numpy as np

from ...runtime.audio import Pcm
from .errors import ProtocolError

_FLOATS = {0xCA: (5, ">f4"), 0xCB: (9, ">f8")}
"""Tag of a float to its bytes, the tag with them, and how to read the others."""
_AT_ONCE = 1 << 13
"""Items that become Python objects before other threads have their turn."""
_PIECE = 1 << 16
"""Bytes that are parsed before other threads have their turn."""
_MOST = 64 * 2**20 // 5
"""So many float32 fill the longest message that a client may send."""
_SCALARS_ONLY = {
    "max_array_len": 0,
    "max_map_len": 0,
    "max_str_len": 0,
    "max_bin_len": 0,
    "max_ext_len": 0,
}


class Pieces:
    """Bytes that msgpack reads a piece at a time. It is no `BytesIO`: only calls of Python code
    let other threads run."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)

    def read(self, size: int) -> bytes:
        """The next bytes, none at the end."""
        piece, self._data = self._data[:size], self._data[size:]
        return bytes(piece)


def unpacker_of(pieces: Pieces, most: int, **limits: int) -> msgpack.Unpacker:
    """What unpacks values, of which none has more than `most` bytes."""
    return msgpack.Unpacker(pieces, read_size=min(_PIECE, most), max_buffer_size=most, **limits)


def pack_floats(samples: Pcm) -> bytes:
    """A msgpack array of float32: what `msgpack.packb(list, use_single_float=True)` gives."""
    items = np.empty((len(samples), 5), np.uint8)
    items[:, 0] = 0xCA
    items[:, 1:] = samples.astype(">f4").view(np.uint8).reshape(-1, 4)
    header: bytes = msgpack.Packer().pack_array_header(len(samples))
    return header + items.tobytes()


def unpack_floats(packed: memoryview) -> Pcm:
    """float32 `[n]` of one msgpack array of floats and integers.

    Raises ProtocolError for other items, more than 64 MiB of float32 hold, or numbers that are not
    finite as float32.
    """
    count, items = _open(packed)
    with np.errstate(over="ignore"):
        samples = _same_floats(count, items)
        if samples is None:
            samples = _mixed_numbers(count, packed)
    if not np.isfinite(samples).all():
        raise ProtocolError("a number that is not finite as float32")
    return samples


def unpack_integers(packed: memoryview) -> tuple[int, ...]:
    """Integers of a msgpack array of no more than 15 items; raises ProtocolError for others."""
    if not 0x90 <= packed[0] <= 0x9F:
        raise ProtocolError("no short array where there should be one")
    return tuple(item for items in _scalars(packed, {int}) for item in items)


def unpack_bytes(packed: memoryview) -> bytes:
    """The bytes of a msgpack array of integers, or of a msgpack bin.

    Raises ProtocolError for anything else.
    """
    if packed[0] in (0xC4, 0xC5, 0xC6):
        return bytes(packed[1 + (1 << packed[0] - 0xC4) :])
    _open(packed)
    try:
        return b"".join(map(bytes, _scalars(packed, {int})))
    except ValueError as error:
        raise ProtocolError("an integer that is no byte") from error


def _open(packed: memoryview) -> tuple[int, memoryview]:
    """How many items an array has, and their bytes."""
    tag = packed[0]
    if 0x90 <= tag <= 0x9F:
        count, rest = tag - 0x90, packed[1:]
    elif tag in (0xDC, 0xDD):
        end = 3 if tag == 0xDC else 5
        count, rest = int.from_bytes(packed[1:end]), packed[end:]
    else:
        raise ProtocolError("no array where there should be one")
    if count > _MOST:
        raise ProtocolError(f"an array of {count} items: at most {_MOST}")
    return count, rest


def _same_floats(count: int, items: memoryview) -> Pcm | None:
    """The samples, if all are floats of the same size."""
    size, kind = _FLOATS.get(items[0] if count else 0, (0, ""))
    if not size or len(items) != count * size:
        return None
    table = np.frombuffer(items, np.uint8).reshape(count, size)
    if not (table[:, 0] == items[0]).all():
        return None
    return np.ascontiguousarray(table[:, 1:]).view(kind)[:, 0].astype(np.float32)


def _mixed_numbers(count: int, packed: memoryview) -> Pcm:
    """The samples, if each is a float or an integer of any size."""
    samples, end = np.empty(count, np.float32), 0
    for numbers in _scalars(packed, {int, float}):
        start, end = end, end + len(numbers)
        samples[start:end] = np.array(numbers, np.float64)
    return samples


def _scalars(packed: memoryview, kinds: set[type]) -> Iterator[list[Any]]:
    """The items, some at a time."""
    unpacker = unpacker_of(Pieces(packed), len(packed), **_SCALARS_ONLY)
    unpacker.read_array_header()
    while True:
        try:
            found = list(islice(unpacker, _AT_ONCE))
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolError("an item of an array that is no number") from error
        if not found:
            return
        if not set(map(type, found)) <= kinds:
            raise ProtocolError("an item of an array that is no number of the right kind")
        yield found
