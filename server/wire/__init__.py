"""What the protocols share: MessagePack, Ogg Opus, JSON of strangers. Bytes in, values out."""

from typing import Any

from ...runtime.bundle.dataclass_json import parse_object as read_object
from ...runtime.errors import KyutaiOnnxError


class ProtocolError(KyutaiOnnxError):
    """Bytes of a peer that are not what its protocol allows: one line, of what and why."""


NO_ROOM = "no free channels"
"""The error of a server that is full, in moshi-server's words."""
SHUTTING_DOWN = "the server is shutting down"
"""The error of a server that is to stop."""
MOST_JSON = 2**20
"""Bytes of an object."""


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object of at most a megabyte, with numbers that are finite.

    Raises ProtocolError for anything else, and for what is nested too deep.
    """
    if len(data) > MOST_JSON:
        raise ProtocolError(f"JSON of {len(data)} bytes: at most {MOST_JSON}")
    try:
        return read_object(data)
    except ValueError as error:
        raise ProtocolError("bytes that are no JSON object") from error
