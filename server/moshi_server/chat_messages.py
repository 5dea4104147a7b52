"""Messages of `/api/chat`, the socket of Moshi and Hibiki: a byte for the kind, and a payload."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ..wire.errors import ProtocolError
from ..wire.strict_json import parse_object

MAX_BYTES = 64 * 2**20


class _Kind(IntEnum):
    """The first byte of a message. Kyutai's protocol has others, which no endpoint here sends."""

    HANDSHAKE = 0
    AUDIO = 1
    TEXT = 2
    METADATA = 4
    ERROR = 5
    PING = 6


@dataclass(frozen=True)
class ChatHandshake:
    """From the server, before audio and text: the client has a slot."""


@dataclass(frozen=True)
class ChatAudio:
    """The next bytes of one Ogg stream of Opus."""

    data: bytes


@dataclass(frozen=True)
class ChatText:
    """From the server: a piece of the text that is spoken, with a space before a new word."""

    text: str


@dataclass(frozen=True)
class ChatMetadata:
    """From the server: the settings of the model."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class ChatError:
    text: str


@dataclass(frozen=True)
class ChatPing:
    """From the server: a sign of life."""


ChatMessage = ChatHandshake | ChatAudio | ChatText | ChatMetadata | ChatError | ChatPing


def parse_chat(data: bytes) -> ChatMessage | None:
    """A message; None for an empty one and for an unknown kind, which are to be ignored.

    Raises ProtocolError for a payload that is invalid for its kind.
    """
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes: at most {MAX_BYTES}")
    if not data or data[0] not in list(_Kind):
        return None
    kind, payload = _Kind(data[0]), data[1:]
    try:
        match kind:
            case _Kind.HANDSHAKE:
                return ChatHandshake()
            case _Kind.AUDIO:
                return ChatAudio(payload)
            case _Kind.TEXT:
                return ChatText(payload.decode())
            case _Kind.METADATA:
                return ChatMetadata(parse_object(payload))
            case _Kind.ERROR:
                return ChatError(payload.decode())
            case _Kind.PING:
                return ChatPing()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a message of {kind.name.lower()} that is not UTF-8") from error


def pack_chat(message: ChatMessage) -> bytes:
    """The bytes of a message. A handshake has the two versions of Kyutai's servers in Rust, which
    those in Python leave out."""
    match message:
        case ChatHandshake():
            kind, payload = _Kind.HANDSHAKE, bytes(8)
        case ChatAudio(data):
            kind, payload = _Kind.AUDIO, data
        case ChatText(text):
            kind, payload = _Kind.TEXT, text.encode()
        case ChatMetadata(values):
            kind, payload = _Kind.METADATA, json.dumps(dict(values)).encode()
        case ChatError(text):
            kind, payload = _Kind.ERROR, text.encode()
        case ChatPing():
            kind, payload = _Kind.PING, b""
    return bytes([kind]) + payload
