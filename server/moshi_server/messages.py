"""The messages of moshi-server's websockets: in MessagePack for speech to text,
`/api/asr-streaming`, and text to speech, `/api/tts_streaming`; a byte for the kind and a payload
for `/api/chat`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..wire import ProtocolError, parse_object
from ..wire.messagepack import MAX_BYTES, Finite, Int64, Message, Octets, Samples, Single, parse

MAX_TEXT = 2**20
"""Characters of a text: hours of speech."""
_EOS = b"\0"
OPTION_NAMES = {
    "temperature": ("audio_temperature",),
    "top_k": ("audio_topk",),
    "text_temperature": ("text_temperature",),
    "text_top_k": ("text_topk",),
    "seed": ("audio_seed", "text_seed"),
}
"""Our options, as the query of `/api/chat` calls them; of two names the first that is given
counts."""


class AudioMessage(Message, frozen=True, eq=False):
    """The next float32 `[n]` at 24 kHz, any n."""

    pcm: Samples


class OggOpusMessage(Message, frozen=True):
    """The next bytes of one Ogg stream of Opus, in place of samples."""

    data: Octets


class EosMessage(Message, frozen=True):
    """To the server: nothing more comes; what is left is sent, and the connection closed.
    moshi-server knows it for text to speech alone."""


class ReadyMessage(Message, frozen=True):
    """The first message to the client."""


class ErrorMessage(Message, frozen=True):
    """There is no room; clients take any text for that."""

    message: str


class InitMessage(Message, frozen=True):
    """To speech to text: restart."""


class MarkerMessage(Message, frozen=True):
    """To speech to text: answer alike once all that came before is transcribed."""

    id: Int64


class PingMessage(Message, frozen=True):
    """To speech to text: a sign of life. moshi-server does not know it."""


class StepMessage(Message, frozen=True):
    """A frame was transcribed: its number, the probability of a pause (by the extra heads of 0.5,
    1, 2 and 3 seconds), and how many samples wait."""

    step_idx: Int64
    prs: tuple[Single, ...]
    buffered_pcm: Int64


class WordMessage(Message, frozen=True):
    """A word that was transcribed."""

    text: str
    start_time: Finite


class EndWordMessage(Message, frozen=True):
    """When the last word ended."""

    stop_time: Finite


class WholeWordMessage(Message, frozen=True):
    """In place of `EndWordMessage`, for clients that ask for `exact`: a word that is closed, with
    its final text."""

    text: str
    start_time: Finite
    stop_time: Finite


SttRequest = InitMessage | AudioMessage | OggOpusMessage | MarkerMessage | EosMessage | PingMessage
SttReply = (
    ReadyMessage
    | StepMessage
    | WordMessage
    | EndWordMessage
    | WholeWordMessage
    | MarkerMessage
    | ErrorMessage
)
_STT_REQUESTS = msgspec.msgpack.Decoder(SttRequest)
_STT_REPLIES = msgspec.msgpack.Decoder(SttReply)


def parse_stt_request(data: bytes) -> SttRequest:
    """What a client of speech to text sends; raises ProtocolError."""
    return parse(data, _STT_REQUESTS)


def parse_stt_reply(data: bytes) -> SttReply:
    """What a server of speech to text sends; raises ProtocolError."""
    return parse(data, _STT_REPLIES)


class TextMessage(Message, frozen=True):
    """To text to speech: whole words to speak."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEXT:
            raise ProtocolError(f"a text of {len(self.text)} characters: at most {MAX_TEXT}")


class VoiceMessage(Message, frozen=True, eq=False):
    """To text to speech, before the first text: a voice as an embedding, float32 `[n]` to be read
    in `shape`, of one to three axes."""

    embeddings: Samples
    shape: Annotated[tuple[Int64, ...], Meta(min_length=1, max_length=3)]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        if min(self.shape) < 1 or math.prod(self.shape) != len(self.embeddings):
            raise ProtocolError(f"a voice of {len(self.embeddings)} numbers, not of its shape")


class TimedTextMessage(Message, frozen=True, tag="Text"):
    """From text to speech: a word, and when it is spoken, in seconds of the speech."""

    text: str
    start_s: Finite
    stop_s: Finite


class SpokenText(msgspec.Struct, frozen=True):
    """The body of a POST to text to speech; an empty voice is the default one."""

    text: str
    voice: str


class TtsFormat(StrEnum):
    """What a client of text to speech gets: samples or Ogg Opus, alone or in messages with the
    words."""

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


def format_named(name: str) -> TtsFormat:
    """The format that a query asks for; raises ProtocolError for an unknown one."""
    try:
        return TtsFormat(name)
    except ValueError as error:
        raise ProtocolError(f"no format {name[:20]!r}: choose {', '.join(TtsFormat)}") from error


TtsRequest = TextMessage | VoiceMessage | EosMessage
TtsReply = ReadyMessage | AudioMessage | OggOpusMessage | TimedTextMessage | ErrorMessage
_TTS_REQUESTS = msgspec.msgpack.Decoder(TtsRequest)
_TTS_REPLIES = msgspec.msgpack.Decoder(TtsReply)


def parse_tts_request(data: bytes | str) -> TtsRequest:
    """What a client of text to speech sends, in a text frame or a binary one; raises
    ProtocolError."""
    if isinstance(data, str):
        return TextMessage(data)
    return EosMessage() if data == _EOS else parse(data, _TTS_REQUESTS)


def parse_tts_reply(data: bytes) -> TtsReply:
    """What a server of text to speech sends, in the formats that have messages; raises
    ProtocolError."""
    return parse(data, _TTS_REPLIES)


class _Kind(IntEnum):
    """The first byte of a message of `/api/chat`. Kyutai's protocol has others, which no endpoint
    here sends."""

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
    """From the server: there is no room."""

    text: str


@dataclass(frozen=True)
class ChatPing:
    """From the server: a sign of life."""


ChatMessage = ChatHandshake | ChatAudio | ChatText | ChatMetadata | ChatError | ChatPing


def parse_chat(data: bytes) -> ChatMessage | None:
    """A message of `/api/chat`; None for an empty one and for an unknown kind, which are to be
    ignored.

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
    """The bytes of a message of `/api/chat`. A handshake has the two versions of Kyutai's servers
    in Rust, which those in Python leave out."""
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
