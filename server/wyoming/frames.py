"""Wyoming's frames, as Home Assistant speaks it: a line of JSON, more JSON, and a payload."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire.errors import ProtocolError
from ..wire.strict_json import parse_object

VERSION = "1.10.2"
"""Of the package whose events these are."""
MOST_HEADER = 2**16
MOST_DATA = 2**20
MOST_PAYLOAD = 2**22


@dataclass(frozen=True)
class Event:
    """What the protocol calls an event: its type, its fields, and audio."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


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
        """The events that are whole now.

        Raises ProtocolError for what is no event, and for one longer than the bounds above; the
        reader is of no use after that.
        """
        self._held += data
        if len(self._held) < self._needed:
            return
        self._needed = 1
        while (end := self._held.find(b"\n", 0, MOST_HEADER)) >= 0:
            header = parse_object(bytes(self._held[:end]))
            payload_start = end + 1 + _length(header, "data_length", MOST_DATA)
            stop = payload_start + _length(header, "payload_length", MOST_PAYLOAD)
            if len(self._held) < stop:
                self._needed = stop
                return
            extra, payload = self._held[end + 1 : payload_start], self._held[payload_start:stop]
            del self._held[:stop]
            yield _event(header, bytes(extra), bytes(payload))
        if len(self._held) >= MOST_HEADER:
            raise ProtocolError(f"an event whose first line is over {MOST_HEADER} bytes")


def pack(event: Event) -> bytes:
    """The bytes of an event."""
    data = json.dumps(event.data).encode() if event.data else b""
    header: dict[str, Any] = {"type": event.type, "version": VERSION}
    if data:
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return json.dumps(header).encode() + b"\n" + data + event.payload


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
