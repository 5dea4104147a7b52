"""Wyoming's events, as Home Assistant sends them: a line of JSON, more JSON, and a payload.

The events are those of the package `wyoming`. Its own reader trusts the peer; this one has bounds
and checks types.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, Eventable
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop
from wyoming.version import __version__

from ..wire import ProtocolError, parse_object

MAX_HEADER = 2**16
MAX_DATA = 2**20
MAX_PAYLOAD = 2**22


class _Checked(msgspec.Struct, omit_defaults=True):
    """The fields of an event that are read, with their types; the others are left out."""


class _Name(_Checked):
    name: str | None = None


class _Text(_Checked):
    text: str


class _OptionalText(_Checked):
    text: str | None = None


class _Voice(_Checked):
    voice: _Name | None = None


class _VoiceAndText(_Voice, kw_only=True):
    text: str


class _Format(_Checked):
    rate: Annotated[int, Meta(ge=8000, le=192000)]
    width: Annotated[int, Meta(ge=1, le=4)]
    channels: Annotated[int, Meta(ge=1, le=8)]


_REQUESTS: dict[str, tuple[type[Eventable], type[_Checked]]] = {
    "describe": (Describe, _Checked),
    "ping": (Ping, _OptionalText),
    "transcribe": (Transcribe, _Name),
    "audio-start": (AudioStart, _Format),
    "audio-chunk": (AudioChunk, _Format),
    "audio-stop": (AudioStop, _Checked),
    "synthesize": (Synthesize, _VoiceAndText),
    "synthesize-start": (SynthesizeStart, _Voice),
    "synthesize-chunk": (SynthesizeChunk, _Text),
    "synthesize-stop": (SynthesizeStop, _Checked),
}


class EventReader:
    """Bytes of a stream in pieces of any size, as events. It keeps no more than the event that is
    not yet whole."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._needed = 1

    @property
    def pending(self) -> int:
        """Bytes of the event that is not yet whole."""
        return len(self._held)

    def push(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are whole now.

        Raises ProtocolError for bytes that are no event, and for an event beyond the bounds above;
        the reader is of no use after that.
        """
        self._held += data
        if len(self._held) < self._needed:
            return
        self._needed = 1
        while (end := self._held.find(b"\n", 0, MAX_HEADER)) >= 0:
            header = parse_object(bytes(self._held[:end]))
            payload_start = end + 1 + _length(header, "data_length", MAX_DATA)
            stop = payload_start + _length(header, "payload_length", MAX_PAYLOAD)
            if len(self._held) < stop:
                self._needed = stop
                return
            extra, payload = self._held[end + 1 : payload_start], self._held[payload_start:stop]
            del self._held[:stop]
            yield _event(header, bytes(extra), bytes(payload))
        if len(self._held) >= MAX_HEADER:
            raise ProtocolError(f"an event whose first line is over {MAX_HEADER} bytes")


def parse_request(event: Event) -> Eventable | None:
    """The request that an event is; None for an event of another kind, which is to be ignored.

    Raises ProtocolError for fields that are missing, of another type or out of range.
    """
    kind, fields = _REQUESTS.get(event.type, (None, _Checked))
    if kind is None:
        return None
    try:
        data = msgspec.to_builtins(msgspec.convert(event.data, fields))
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProtocolError(f"an invalid {event.type}: {error}") from error
    request = kind.from_event(Event(event.type, data, event.payload))
    if isinstance(request, AudioChunk) and len(request.audio) % (request.width * request.channels):
        raise ProtocolError("audio that is cut within a sample")
    return request


def pack_event(message: Eventable) -> bytes:
    """The bytes of an event."""
    event = message.event()
    data = json.dumps(event.data).encode() if event.data else b""
    header: dict[str, Any] = {"type": event.type, "version": __version__}
    if data:
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return json.dumps(header).encode() + b"\n" + data + (event.payload or b"")


def _event(header: dict[str, Any], extra: bytes, payload: bytes) -> Event:
    kind, data = header.get("type"), header.get("data") or {}
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ProtocolError("an event without a type, or whose data is no object")
    return Event(kind, {**data, **(parse_object(extra) if extra else {})}, payload)


def _length(header: dict[str, Any], name: str, most: int) -> int:
    length = header.get(name) or 0
    if type(length) is not int or not 0 <= length <= most:
        raise ProtocolError(f"an event whose {name} is not from 0 to {most}")
    return length
