"""Messages of moshi-server's speech to text, `/api/asr-streaming`: one msgpack map each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..wire import messagepack as tagged
from ..wire.messagepack import Fields
from .common_messages import Audio as Audio
from .common_messages import Error as Error
from .common_messages import OggOpus as OggOpus
from .common_messages import Ready as Ready
from .common_messages import read_audio, read_error, read_ogg_opus


@dataclass(frozen=True)
class Init:
    """To the server: begin anew."""


@dataclass(frozen=True)
class Marker:
    """To the server: answer alike once all that came before is transcribed."""

    id: int


@dataclass(frozen=True)
class Eos:
    """To the server: no more audio comes; what is left is told, and the connection closed.
    moshi-server itself does not know it."""


@dataclass(frozen=True)
class Ping:
    """To the server: nothing but a sign of life. moshi-server itself does not know it."""


@dataclass(frozen=True)
class Step:
    """A frame was heard: its number, the probability that the speaker pauses (by the extra heads of
    0.5, 1, 2 and 3 seconds), and how many samples wait to be heard."""

    step_idx: int
    prs: tuple[float, ...]
    buffered_pcm: int


@dataclass(frozen=True)
class Word:
    """A word that was heard."""

    text: str
    start_time: float


@dataclass(frozen=True)
class EndWord:
    """Where the last word ended."""

    stop_time: float


@dataclass(frozen=True)
class WholeWord:
    """In place of `EndWord`, for clients that asked to be told exactly: a word that is closed, be
    it one that was heard as it is or not."""

    text: str
    start_time: float
    stop_time: float


Request = Init | Audio | OggOpus | Marker | Eos | Ping
Reply = Ready | Step | Word | EndWord | WholeWord | Marker | Error

_REQUESTS: dict[str, Callable[[Fields], Request]] = {
    "Init": lambda _: Init(),
    "Audio": read_audio,
    "OggOpus": read_ogg_opus,
    "Marker": lambda fields: Marker(fields.integer("id")),
    "Eos": lambda _: Eos(),
    "Ping": lambda _: Ping(),
}
_REPLIES: dict[str, Callable[[Fields], Reply]] = {
    "Ready": lambda _: Ready(),
    "Step": lambda fields: Step(
        fields.integer("step_idx"),
        tuple(fields.floats("prs").tolist()),
        fields.integer("buffered_pcm"),
    ),
    "Word": lambda fields: Word(fields.text("text"), fields.number("start_time")),
    "EndWord": lambda fields: EndWord(fields.number("stop_time")),
    "WholeWord": lambda fields: WholeWord(
        fields.text("text"), fields.number("start_time"), fields.number("stop_time")
    ),
    "Marker": lambda fields: Marker(fields.integer("id")),
    "Error": read_error,
}


def parse(data: bytes) -> Request:
    """What a client says; raises ProtocolError."""
    return tagged.parse(data, _REQUESTS)


def parse_reply(data: bytes) -> Reply:
    """What a server says; raises ProtocolError."""
    return tagged.parse(data, _REPLIES)


def pack(message: Request | Reply) -> bytes:
    """The bytes of a message, as moshi-server and its clients write them."""
    return tagged.pack(message)


def as_json(messages: Iterable[Reply]) -> list[dict[str, Any]]:
    """What a POST is answered with: words and their ends, and errors."""
    return [tagged.fields_of(message) for message in messages]
