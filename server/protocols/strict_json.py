"""JSON objects of strangers."""

import json
import math
from typing import Any

from .errors import ProtocolError

MOST_BYTES = 2**20


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object of at most a megabyte, with numbers that are finite.

    Raises ProtocolError for anything else, and for what is nested too deep.
    """
    if len(data) > MOST_BYTES:
        raise ProtocolError(f"JSON of {len(data)} bytes: at most {MOST_BYTES}")
    try:
        value = json.loads(data.decode(), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("bytes that are no JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError("JSON that is no object")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
