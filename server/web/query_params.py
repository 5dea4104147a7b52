"""Numbers in the query of a request."""

import math
from collections.abc import Mapping
from typing import TypeVar

from ...models.options import PARAMETERS, check_parameters

Value = TypeVar("Value", int, float)


def number(query: Mapping[str, str], name: str) -> float | None:
    """Return a finite number, None if it is not given; raises ValueError."""
    if not (given := query.get(name)):
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} {given[:20]!r}: give a number")
    return in_range(name, value)


def whole(query: Mapping[str, str], name: str) -> int | None:
    """Return an integer from 0 to 2^63 - 1, None if it is not given; raises ValueError."""
    if not (given := query.get(name)):
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) < 1 << 63):
        raise ValueError(f"{name} {given[:20]!r}: give an integer of 0 or more")
    return in_range(name, int(given))


def in_range(name: str, value: Value) -> Value:
    """Return the value; raises UsageError for a parameter of a stream that is out of range."""
    if name in PARAMETERS:
        check_parameters(**{name: value})
    return value
