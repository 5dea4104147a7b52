"""`/api/chat`, over which Moshi and Hibiki are spoken with: a byte that says what a message is, and
its payload."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ...models import events
from ..wire.errors import ProtocolError
from ..wire.ogg_opus import OpusEncoder
from ..wire.strict_json import parse_object

MOST_BYTES = 64 * 2**20
_MOST_CODES = 256


class Kind(IntEnum):
    """The first byte of a message."""

    HANDSHAKE = 0
    AUDIO = 1
    TEXT = 2
    CONTROL = 3
    METADATA = 4
    ERROR = 5
    PING = 6
    COLORED_TEXT = 7
    IMAGE = 8
    CODES = 9


class Action(IntEnum):
    """What a control asks for; no server of Kyutai's heeds it."""

    START = 0
    END_TURN = 1
    PAUSE = 2
    RESTART = 3


@dataclass(frozen=True)
class Handshake:
    """From the server, before audio and text: there is a place."""


@dataclass(frozen=True)
class Audio:
    """The next bytes of one Ogg stream of Opus."""

    data: bytes


@dataclass(frozen=True)
class Text:
    """From the server: a piece of what is said, with a space before a new word. MoshiVis gives it a
    color."""

    text: str
    color: int | None = None


@dataclass(frozen=True)
class Control:
    action: Action


@dataclass(frozen=True)
class Metadata:
    """From the server: how it is set."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Error:
    text: str


@dataclass(frozen=True)
class Ping:
    """From the server: nothing but a sign of life."""


@dataclass(frozen=True)
class Image:
    data: bytes


@dataclass(frozen=True)
class Codes:
    """One frame of Mimi's codes."""

    codes: tuple[int, ...]


Message = Handshake | Audio | Text | Control | Metadata | Error | Ping | Image | Codes


def parse(data: bytes) -> Message | None:
    """A message; None for an empty one and for a kind that is not known, which are to be ignored.

    Raises ProtocolError for a payload that is not of its kind.
    """
    if len(data) > MOST_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes: at most {MOST_BYTES}")
    if not data or data[0] > max(Kind):
        return None
    kind = Kind(data[0])
    try:
        return _message(kind, data[1:])
    except (ValueError, IndexError, struct.error) as error:
        raise ProtocolError(f"a message that is no {kind.name.lower()}") from error


def pack(message: Message) -> bytes:
    """The bytes of a message. A handshake has the two versions of Kyutai's servers in Rust, which
    those in Python leave out."""
    kind, payload = _packed(message)
    return bytes([kind]) + payload


class ChatAdapter:
    """One client's: a stream's events to the bytes of messages, in the order in which they
    come."""

    def __init__(self) -> None:
        self._encoder = OpusEncoder()

    def begin(self, metadata: Mapping[str, Any] | None = None) -> list[bytes]:
        """The stream has a place: how it is set, for those who ask, and the handshake."""
        told = [] if metadata is None else [pack(Metadata(metadata))]
        return [*told, pack(Handshake())]

    def tell(self, event: events.Event) -> list[bytes]:
        """The messages of an event."""
        match event:
            case events.Audio(pcm):
                return self._pages(self._encoder.push(pcm))
            case events.Text(text):
                return [pack(Text(text))]
        return []

    def finish(self) -> list[bytes]:
        """All was said: what is left to tell before the connection is closed."""
        return self._pages(self._encoder.flush())

    def _pages(self, pages: bytes) -> list[bytes]:
        return [pack(Audio(pages))] if pages else []


def _message(kind: Kind, payload: bytes) -> Message:
    match kind:
        case Kind.HANDSHAKE:
            return Handshake()
        case Kind.AUDIO:
            return Audio(payload)
        case Kind.TEXT:
            return Text(payload.decode())
        case Kind.CONTROL:
            return Control(Action(payload[0]))
        case Kind.METADATA:
            return Metadata(parse_object(payload))
        case Kind.ERROR:
            return Error(payload.decode())
        case Kind.PING:
            return Ping()
        case Kind.COLORED_TEXT:
            return Text(payload[1:].decode(), payload[0])
        case Kind.IMAGE:
            return Image(payload)
        case Kind.CODES:
            return Codes(_codes(payload))


def _packed(message: Message) -> tuple[Kind, bytes]:
    match message:
        case Handshake():
            return Kind.HANDSHAKE, bytes(8)
        case Audio(data):
            return Kind.AUDIO, data
        case Text(text, color):
            if color is None:
                return Kind.TEXT, text.encode()
            return Kind.COLORED_TEXT, bytes([color]) + text.encode()
        case Control(action):
            return Kind.CONTROL, bytes([action])
        case Metadata(values):
            return Kind.METADATA, json.dumps(dict(values)).encode()
        case Error(text):
            return Kind.ERROR, text.encode()
        case Ping():
            return Kind.PING, b""
        case Image(data):
            return Kind.IMAGE, data
        case Codes(codes):
            return Kind.CODES, struct.pack(f"<{len(codes)}I", *codes)


def _codes(payload: bytes) -> tuple[int, ...]:
    if len(payload) > 4 * _MOST_CODES:
        raise ProtocolError(f"a frame of {len(payload) // 4} codes: at most {_MOST_CODES}")
    return struct.unpack(f"<{len(payload) // 4}I", payload)
