"""Messages of moshi-server: each is one msgpack map, whose key `type` names what it is."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgpack
import numpy as np

from ...runtime.audio import Pcm
from .arrays import Pieces, pack_floats, unpack_bytes, unpack_floats, unpack_integers, unpacker_of
from .errors import ProtocolError

MOST_BYTES = 64 * 2**20
"""Of a message."""
NO_ROOM = "no free channels"
"""What the error of a server that is full says."""
_MOST_KEYS = 64
_LONGEST_KEY = 64
_INT64 = range(-(2**63), 2**63)

Message = TypeVar("Message")


class Fields:
    """The fields of a message, each decoded when it is asked for: what nobody asks for is skipped.

    Raises ProtocolError for bytes that are not one whole map of at most 64 keys, and for a field
    that is missing or of another kind.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MOST_BYTES:
            raise ProtocolError(f"a message of {len(data)} bytes: at most {MOST_BYTES}")
        try:
            self._packed = _parts(data)
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolError("a message that is no map of msgpack") from error
        self.type = self.text("type")

    def text(self, name: str) -> str:
        value = self._scalar(name)
        if not isinstance(value, str):
            raise ProtocolError(f"{name} is no text")
        return value

    def integer(self, name: str) -> int:
        """An integer of 64 bits."""
        value = self._scalar(name)
        if type(value) is not int or value not in _INT64:
            raise ProtocolError(f"{name} is no integer of 64 bits")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._scalar(name)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ProtocolError(f"{name} is no finite number")
        return float(value)

    def floats(self, name: str) -> Pcm:
        """float32 `[n]` of an array of numbers, all of them finite."""
        return unpack_floats(self._field(name))

    def integers(self, name: str) -> tuple[int, ...]:
        """The few integers of an array."""
        return unpack_integers(self._field(name))

    def octets(self, name: str) -> bytes:
        """The bytes of an array of integers, or of a bin."""
        return unpack_bytes(self._field(name))

    def _scalar(self, name: str) -> Any:
        """A value that is no array, map or ext."""
        packed = self._field(name)
        try:
            return msgpack.unpackb(packed, max_array_len=0, max_map_len=0, max_ext_len=0)
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolError(f"{name} is no text and no number") from error

    def _field(self, name: str) -> memoryview:
        if name not in self._packed:
            raise ProtocolError(f"a message without {name}")
        return self._packed[name]


def parse(data: bytes, kinds: Mapping[str, Callable[[Fields], Message]]) -> Message:
    """The message that `data` is, made by the one of `kinds` that it names.

    Raises ProtocolError for a kind that is not there, or as `Fields` does.
    """
    fields = Fields(data)
    if fields.type not in kinds:
        raise ProtocolError(f"a message of unknown type {fields.type[:20]!r}")
    return kinds[fields.type](fields)


def fields_of(message: Any) -> dict[str, Any]:
    """The fields of a message that is a dataclass, first its type: its `tag`, or its class."""
    kind = type(message)
    return {"type": getattr(kind, "tag", kind.__name__), **vars(message)}


def pack(message: Any) -> bytes:
    """A message that is a dataclass, as Rust's serde writes it.

    Text, integers and numbers (float64) are packed as they are, samples `[n]` and tuples of numbers
    as arrays of float32, bytes as an array of integers.
    """
    fields = fields_of(message)
    parts = [msgpack.Packer().pack_map_header(len(fields))]
    for name, value in fields.items():
        parts += [msgpack.packb(name), _packed(value)]
    return b"".join(parts)


def _packed(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return pack_floats(value)
    if isinstance(value, bytes):
        value = list(value)
    single = isinstance(value, tuple)
    packed: bytes = msgpack.packb(value, use_single_float=single)
    return packed


def _parts(data: bytes) -> dict[str, memoryview]:
    """The bytes of each value of a map, unread."""
    unpacker = unpacker_of(
        Pieces(data),
        len(data),
        max_str_len=_LONGEST_KEY,
        max_bin_len=_LONGEST_KEY,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    count = unpacker.read_map_header()
    if count > _MOST_KEYS:
        raise ProtocolError(f"a message of {count} fields: at most {_MOST_KEYS}")
    view, parts = memoryview(data), {}
    for _ in range(count):
        name = unpacker.unpack()
        start = unpacker.tell()
        unpacker.skip()
        if not isinstance(name, str) or name in parts:
            raise ProtocolError("a message with a field that has no name, or two of one name")
        parts[name] = view[start : unpacker.tell()]
    if unpacker.tell() != len(data):
        raise ProtocolError("a message with more behind it")
    return parts
