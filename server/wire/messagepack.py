"""Messages in MessagePack, as Rust's serde writes them: maps whose key `type` names the message."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from ...runtime.audio import Pcm
from . import ProtocolError

MAX_BYTES = 64 * 2**20
"""Of a message."""
MAX_ITEMS = 2**20
"""Of an array whose items become Python objects: every array but one of floats of one size."""
_MAX_REASON = 200
_FLOATS = {
    0xCA: np.dtype([("tag", np.uint8), ("value", ">f4")]),
    0xCB: np.dtype([("tag", np.uint8), ("value", ">f8")]),
}
"""Tag of a float to its bytes."""

_SINGLE = np.finfo(np.float32)
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Single = Annotated[float, Meta(ge=-float(_SINGLE.max), le=float(_SINGLE.max))]
if TYPE_CHECKING:
    Samples = Pcm
    Octets = bytes
else:
    Samples = msgspec.Raw
    Octets = bytes | Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=MAX_ITEMS)]
"""Fields that `Message` converts once they are read: an array of numbers to float32 `[n]`, an
array of integers or a bin to bytes."""

_HEADERS = {0xDC: 3, 0xDD: 5}
"""Tag of an array of 16 items or more to the size of its header."""
_NUMBERS = msgspec.msgpack.Decoder(Annotated[list[float], Meta(max_length=MAX_ITEMS)])

Kind = TypeVar("Kind")


class Message(msgspec.Struct, frozen=True, tag=lambda name: name.removesuffix("Message")):
    """A message, whose type is the name of its class without `Message`."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, msgspec.Raw):
                msgspec.structs.force_setattr(self, name, unpack_floats(value))
            elif isinstance(value, list):
                msgspec.structs.force_setattr(self, name, bytes(value))

    @property
    def fields(self) -> dict[str, Any]:
        """The message as a dict, its type first."""
        return {"type": self.__struct_config__.tag, **msgspec.structs.asdict(self)}


def parse(data: bytes, decoder: "msgspec.msgpack.Decoder[Kind]") -> Kind:
    """The message that `data` is.

    Raises ProtocolError for more than `MAX_BYTES`, for bytes that are no message of the decoder's
    types, and for numbers that are not finite.
    """
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes: at most {MAX_BYTES}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        why = ascii(str(error))[1:-1]
        raise ProtocolError(f"an invalid message: {why[:_MAX_REASON]}") from error


def pack(message: Message) -> bytes:
    """The bytes of a message.

    Text, integers and numbers (float64) are packed as they are, samples and tuples of numbers as
    arrays of float32, bytes as an array of integers.
    """
    fields = {name: _packable(value) for name, value in message.fields.items()}
    return msgspec.msgpack.encode(fields)


def _packable(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, tuple) and all(isinstance(item, float) for item in value):
        value = np.array(value, np.float32)
    return msgspec.Raw(pack_floats(value)) if isinstance(value, np.ndarray) else value


def pack_floats(samples: Pcm) -> bytes:
    """An array of float32."""
    count = len(samples)
    items = np.empty(count, _FLOATS[0xCA])
    items["tag"], items["value"] = 0xCA, samples
    if count < 16:
        header = bytes([0x90 + count])
    else:
        header = b"\xdc" + count.to_bytes(2) if count < 2**16 else b"\xdd" + count.to_bytes(4)
    return header + items.tobytes()


def unpack_floats(packed: msgspec.Raw) -> Pcm:
    """float32 `[n]` of an array of floats and integers.

    Raises MsgspecError for other items and for more than `MAX_ITEMS` of several sizes,
    ProtocolError for numbers that are not finite as float32.
    """
    with np.errstate(over="ignore"):
        samples = _same_floats(memoryview(packed))
        if samples is None:
            samples = np.array(_NUMBERS.decode(packed), np.float64).astype(np.float32)
    if not np.isfinite(samples).all():
        raise ProtocolError("a number that is not finite as float32")
    return samples


def _same_floats(packed: memoryview) -> Pcm | None:
    """The samples, if all are floats of one size."""
    start = _HEADERS.get(packed[0], 1)
    count = int.from_bytes(packed[1:start]) if start > 1 else packed[0] - 0x90
    kind = _FLOATS.get(packed[start]) if len(packed) > start else None
    if kind is None or len(packed) != start + count * kind.itemsize:
        return None
    items = np.frombuffer(packed, kind, offset=start)
    return items["value"].astype(np.float32) if (items["tag"] == packed[start]).all() else None
