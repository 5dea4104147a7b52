"""ONNX files as bytes, without a package for ONNX: cut outputs out of a graph, make a tiny one.

An ONNX file is a protocol buffer: a message is a row of fields, each with a number and, here, a
value whose length comes first. Leaving fields out of a row leaves a valid message.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..errors import ModelError

GRAPH = 7
NODE, INITIALIZER, OUTPUT, VALUE_INFO = 1, 5, 12, 13
NODE_INPUT, NODE_OUTPUT = 1, 2
TENSOR_NAME, VALUE_NAME = 8, 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Field numbers of onnx.proto, and the wire types of protocol buffers."""


@dataclass(frozen=True)
class Field:
    """One field of a message: its number, all of its bytes, and its value if it has a length."""

    number: int
    whole: memoryview
    value: memoryview


def prune(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with only these outputs, and the nodes and weights that they need.

    Raises ModelError if the bytes are not an ONNX model, or it has no such output.
    """
    try:
        parts = [
            _message(GRAPH, _prune_graph(field.value, outputs))
            if field.number == GRAPH
            else bytes(field.whole)
            for field in _fields(memoryview(model))
        ]
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"the graph cannot be read ({error}); export it again") from None
    return b"".join(parts)


def _prune_graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    fields = list(_fields(graph))
    nodes = [field for field in fields if field.number == NODE]
    links = [_links(node.value) for node in nodes]
    needed, kept = set(outputs), set()
    for index in reversed(range(len(nodes))):  # nodes come after those that feed them
        takes, gives = links[index]
        if needed & gives:
            needed |= takes
            kept.add(id(nodes[index]))
    return b"".join(bytes(f.whole) for f in fields if _is_kept(f, kept, needed, outputs))


def _is_kept(field: Field, nodes: set[int], needed: set[str], outputs: Collection[str]) -> bool:
    if field.number == NODE:
        return id(field) in nodes
    if field.number == INITIALIZER:
        return _text_of(field.value, TENSOR_NAME) in needed
    if field.number == VALUE_INFO:
        return _text_of(field.value, VALUE_NAME) in needed
    return field.number != OUTPUT or _text_of(field.value, VALUE_NAME) in outputs


def _links(node: memoryview) -> tuple[set[str], set[str]]:
    names: dict[int, set[str]] = {NODE_INPUT: set(), NODE_OUTPUT: set()}
    for field in _fields(node):
        if field.number in names:
            names[field.number].add(bytes(field.value).decode())
    return names[NODE_INPUT] - {""}, names[NODE_OUTPUT] - {""}


def _text_of(message: memoryview, number: int) -> str:
    found = (bytes(field.value).decode() for field in _fields(message) if field.number == number)
    return next(found, "")


def _fields(message: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        first, at = _value(message, at, key & 7)
        yield Field(key >> 3, message[start:at], message[first:at])


def _value(message: memoryview, at: int, wire: int) -> tuple[int, int]:
    """Where a value begins and ends."""
    if wire == VARINT:
        return at, _varint(message, at)[1]
    if wire == BYTES:
        length, at = _varint(message, at)
    else:
        length = {FIXED64: 8, FIXED32: 4}.get(wire, len(message) + 1)
    if at + length > len(message):
        raise IndexError("it ends too early")
    return at, at + length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _message(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def addition_model() -> bytes:
    """A model `y = x + x` of `float32[4]`, to see whether a provider runs at all."""
    node = _text(1, "x") + _text(1, "x") + _text(2, "y") + _text(4, "Add")
    graph = _message(1, node) + _text(2, "addition")
    graph += _message(11, _tensor("x")) + _message(12, _tensor("y"))
    return _number(1, 8) + _message(7, graph) + _message(8, _text(1, "") + _number(2, 13))


def _tensor(name: str) -> bytes:
    shape = _message(1, _number(1, 4))
    return _text(1, name) + _message(2, _message(1, _number(1, 1) + _message(2, shape)))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3 | VARINT, value])
