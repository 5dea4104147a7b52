"""Messages that moshi-server's speech to text and its text to speech share."""

from dataclasses import dataclass

from ...runtime.audio import Pcm
from ..wire.messagepack import Fields


@dataclass(frozen=True)
class Ready:
    """The first message to the client."""


@dataclass(frozen=True, eq=False)
class Audio:
    """The next float32 `[n]` at 24 kHz, any n: heard by the server, or spoken by it."""

    pcm: Pcm


@dataclass(frozen=True)
class OggOpus:
    """The next bytes of one Ogg stream of Opus, in place of samples."""

    data: bytes


@dataclass(frozen=True)
class Error:
    """There is no room; clients take any text for that."""

    message: str


def read_audio(fields: Fields) -> Audio:
    return Audio(fields.floats("pcm"))


def read_ogg_opus(fields: Fields) -> OggOpus:
    return OggOpus(fields.octets("data"))


def read_error(fields: Fields) -> Error:
    return Error(fields.text("message"))
