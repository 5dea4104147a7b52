"""Wyoming's events of speech to text and text to speech, typed."""

from dataclasses import dataclass, replace
from typing import ClassVar, get_args

from ...runtime.bundle.dataclass_json import dump
from ...runtime.bundle.dataclass_json import parse as parse_fields
from ..wire.errors import ProtocolError
from . import frames as wyoming
from .frames import Event

_RATES = range(8000, 192001)
_WIDTHS = (1, 2, 3, 4)
_CHANNELS = range(1, 9)


@dataclass(frozen=True)
class Describe:
    """To the server: tell what you can."""

    tag: ClassVar = "describe"


@dataclass(frozen=True)
class Attribution:
    name: str
    url: str


@dataclass(frozen=True)
class Artifact:
    """A model or a voice."""

    name: str
    attribution: Attribution
    description: str
    version: str
    languages: tuple[str, ...]
    installed: bool = True


@dataclass(frozen=True)
class ListeningProgram:
    """What turns speech to text."""

    name: str
    attribution: Attribution
    description: str
    version: str
    models: tuple[Artifact, ...]
    supports_transcript_streaming: bool = True
    installed: bool = True


@dataclass(frozen=True)
class SpeakingProgram:
    """What turns text to speech."""

    name: str
    attribution: Attribution
    description: str
    version: str
    voices: tuple[Artifact, ...]
    supports_synthesize_streaming: bool = True
    installed: bool = True


@dataclass(frozen=True)
class Info:
    """What the server can."""

    tag: ClassVar = "info"
    asr: tuple[ListeningProgram, ...] = ()
    tts: tuple[SpeakingProgram, ...] = ()


@dataclass(frozen=True)
class Transcribe:
    """To the server: audio follows, to be written down by the model `name`."""

    tag: ClassVar = "transcribe"
    name: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class AudioStart:
    """Audio follows: of so many samples a second, bytes a sample, and channels."""

    tag: ClassVar = "audio-start"
    rate: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        _check_audio(self.rate, self.width, self.channels)


@dataclass(frozen=True)
class AudioChunk:
    """A piece of linear PCM, little-endian, with channels side by side."""

    tag: ClassVar = "audio-chunk"
    rate: int
    width: int
    channels: int
    audio: bytes = b""

    def __post_init__(self) -> None:
        _check_audio(self.rate, self.width, self.channels)
        if len(self.audio) % (self.width * self.channels):
            raise ProtocolError("audio that is cut within a sample")


@dataclass(frozen=True)
class AudioStop:
    """All audio was sent."""

    tag: ClassVar = "audio-stop"


@dataclass(frozen=True)
class Transcript:
    """All that was heard."""

    tag: ClassVar = "transcript"
    text: str


@dataclass(frozen=True)
class TranscriptStart:
    """What is heard follows in pieces."""

    tag: ClassVar = "transcript-start"


@dataclass(frozen=True)
class TranscriptChunk:
    tag: ClassVar = "transcript-chunk"
    text: str


@dataclass(frozen=True)
class TranscriptStop:
    tag: ClassVar = "transcript-stop"


@dataclass(frozen=True)
class VoiceChoice:
    """A voice that is asked for: by name, or any of a language."""

    name: str | None = None
    language: str | None = None
    speaker: str | None = None


@dataclass(frozen=True)
class Synthesize:
    """To the server: say this. Between the start and the stop of a stream it repeats, for servers
    that know no streams, what the chunks said."""

    tag: ClassVar = "synthesize"
    text: str
    voice: VoiceChoice | None = None


@dataclass(frozen=True)
class SynthesizeStart:
    """To the server: a text follows in pieces."""

    tag: ClassVar = "synthesize-start"
    voice: VoiceChoice | None = None


@dataclass(frozen=True)
class SynthesizeChunk:
    tag: ClassVar = "synthesize-chunk"
    text: str


@dataclass(frozen=True)
class SynthesizeStop:
    tag: ClassVar = "synthesize-stop"


@dataclass(frozen=True)
class SynthesizeStopped:
    """To the client: all that was asked for in pieces was said."""

    tag: ClassVar = "synthesize-stopped"


@dataclass(frozen=True)
class Ping:
    """To be answered by a pong of the same text."""

    tag: ClassVar = "ping"
    text: str | None = None


@dataclass(frozen=True)
class Pong:
    tag: ClassVar = "pong"
    text: str | None = None


@dataclass(frozen=True)
class Error:
    tag: ClassVar = "error"
    text: str
    code: str | None = None


Message = (
    Describe
    | Info
    | Transcribe
    | AudioStart
    | AudioChunk
    | AudioStop
    | Transcript
    | TranscriptStart
    | TranscriptChunk
    | TranscriptStop
    | Synthesize
    | SynthesizeStart
    | SynthesizeChunk
    | SynthesizeStop
    | SynthesizeStopped
    | Ping
    | Pong
    | Error
)
_KINDS: dict[str, type[Message]] = {kind.tag: kind for kind in get_args(Message)}


def parse(event: Event) -> Message | None:
    """The message that an event is; None for an event of another kind, which is to be ignored.

    Raises ProtocolError for fields that are missing or out of range.
    """
    kind = _KINDS.get(event.type)
    if kind is None:
        return None
    fields = {name: value for name, value in event.data.items() if name != "audio"}
    try:
        message = parse_fields(kind, fields)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a {event.type} that is none: {error}") from error
    return replace(message, audio=event.payload) if isinstance(message, AudioChunk) else message


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    fields = dump(message)
    return wyoming.pack(Event(message.tag, fields, fields.pop("audio", b"")))


def _check_audio(rate: int, width: int, channels: int) -> None:
    if rate not in _RATES or width not in _WIDTHS or channels not in _CHANNELS:
        raise ProtocolError(
            "audio of a format that is not taken: send 8 to 192 kHz, 1 to 4 bytes a sample and 1 "
            "to 8 channels"
        )
