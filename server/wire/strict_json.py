"""JSON objects of strangers."""

from typing import Any

from ...runtime.bundle.dataclass_json import parse_object as read_object
from . import ProtocolError

MOST_BYTES = 2**20


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object of at most a megabyte, with numbers that are finite.

    Raises ProtocolError for anything else, and for what is nested too deep.
    """
    if len(data) > MOST_BYTES:
        raise ProtocolError(f"JSON of {len(data)} bytes: at most {MOST_BYTES}")
    try:
        return read_object(data)
    except ValueError as error:
        raise ProtocolError("bytes that are no JSON object") from error
