"""Messages of moshi-server's text to speech, `/api/tts_streaming`, in its four formats."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from ...runtime.audio import Pcm
from ..wire import messagepack as tagged
from ..wire.errors import ProtocolError
from ..wire.messagepack import Fields
from .common_messages import Audio as Audio
from .common_messages import Error as Error
from .common_messages import OggOpus as OggOpus
from .common_messages import Ready as Ready
from .common_messages import read_audio, read_error, read_ogg_opus

MOST_TEXT = 2**20
"""Characters of a text: hours of speech."""
_EOS = b"\0"


class Format(StrEnum):
    """What a client wants to get: samples or Ogg Opus, alone or in messages with the words."""

    PCM = "Pcm"
    PCM_MESSAGE_PACK = "PcmMessagePack"
    OGG_OPUS = "OggOpus"
    OGG_OPUS_MESSAGE_PACK = "OggOpusMessagePack"

    @property
    def has_messages(self) -> bool:
        return self.value.endswith("MessagePack")

    @property
    def is_opus(self) -> bool:
        return self.value.startswith("OggOpus")


@dataclass(frozen=True)
class Say:
    """To the server, where its type is `Text` too: whole words to say."""

    tag: ClassVar = "Text"
    text: str


@dataclass(frozen=True, eq=False)
class Voice:
    """To the server, before the first text: a voice as an embedding, float32 `[n]` to be read in
    `shape`, of one to three axes."""

    embeddings: Pcm
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Eos:
    """To the server: no more text comes."""


@dataclass(frozen=True)
class Text:
    """A word, and when it is said, in seconds of the speech."""

    text: str
    start_s: float
    stop_s: float


Request = Say | Voice | Eos
Reply = Ready | Audio | OggOpus | Text | Error


def parse(data: bytes | str) -> Request:
    """What a client says, in a text frame or a binary one; raises ProtocolError."""
    if isinstance(data, str):
        return _say(data)
    return Eos() if data == _EOS else tagged.parse(data, _REQUESTS)


def parse_reply(data: bytes) -> Reply:
    """What a server says, in the formats that have messages; raises ProtocolError."""
    return tagged.parse(data, _REPLIES)


def pack(message: Request | Reply) -> bytes:
    """The bytes of a message, as moshi-server and its clients write them."""
    return tagged.pack(message)


def format_named(name: str) -> Format:
    """The format that a query asks for; raises ProtocolError for one that is not known."""
    try:
        return Format(name)
    except ValueError as error:
        raise ProtocolError(f"no format {name[:20]!r}: choose {', '.join(Format)}") from error


def _say(text: str) -> Say:
    if len(text) > MOST_TEXT:
        raise ProtocolError(f"a text of {len(text)} characters: at most {MOST_TEXT}")
    return Say(text)


def _voice(fields: Fields) -> Voice:
    embeddings, shape = fields.floats("embeddings"), fields.integers("shape")
    if len(shape) not in (1, 2, 3) or min(shape) < 1 or math.prod(shape) != len(embeddings):
        raise ProtocolError(f"a voice of {len(embeddings)} numbers that are not of its shape")
    return Voice(embeddings, shape)


_REQUESTS: dict[str, Callable[[Fields], Request]] = {
    "Text": lambda fields: _say(fields.text("text")),
    "Voice": _voice,
    "Eos": lambda _: Eos(),
}
_REPLIES: dict[str, Callable[[Fields], Reply]] = {
    "Ready": lambda _: Ready(),
    "Audio": read_audio,
    "OggOpus": read_ogg_opus,
    "Text": lambda fields: Text(
        fields.text("text"), fields.number("start_s"), fields.number("stop_s")
    ),
    "Error": read_error,
}
