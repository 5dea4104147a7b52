"""Messages in MessagePack of moshi-server's speech to text, `/api/asr-streaming`, and of its text
to speech, `/api/tts_streaming`."""

import math
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from ..wire.errors import ProtocolError
from ..wire.messagepack import Finite, Int64, Message, Octets, Samples, Single, parse

MAX_TEXT = 2**20
"""Characters of a text: hours of speech."""
_EOS = b"\0"


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
TtsRequest = TextMessage | VoiceMessage | EosMessage
TtsReply = ReadyMessage | AudioMessage | OggOpusMessage | TimedTextMessage | ErrorMessage
_STT_REQUESTS = msgspec.msgpack.Decoder(SttRequest)
_STT_REPLIES = msgspec.msgpack.Decoder(SttReply)
_TTS_REQUESTS = msgspec.msgpack.Decoder(TtsRequest)
_TTS_REPLIES = msgspec.msgpack.Decoder(TtsReply)


def parse_stt_request(data: bytes) -> SttRequest:
    """What a client of speech to text sends; raises ProtocolError."""
    return parse(data, _STT_REQUESTS)


def parse_stt_reply(data: bytes) -> SttReply:
    """What a server of speech to text sends; raises ProtocolError."""
    return parse(data, _STT_REPLIES)


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
