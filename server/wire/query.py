"""Numbers and options of a stream in the query of a request, or in the fields of a form."""

import math
from collections.abc import Mapping
from typing import Any

from ...models.options import Offered, StreamOptions, check_value, parameters


def read_options(
    kind: type[StreamOptions], query: Mapping[str, str], names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the options of a family that a client has given; `names` are those of a protocol that
    calls some otherwise.

    Raises ValueError for what is no number, UsageError for a value out of range.
    """
    found: dict[str, Any] = {}
    for ours, parameter in parameters(kind, Offered.CLIENTS).items():
        name = (names or {}).get(ours, ours)
        if parameter.range is None:
            value: Any = query.get(name) or None
        else:
            value = whole(query, name) if parameter.range.whole else number(query, name)
        check_value(name, value, parameter.range)
        if value is not None:
            found[ours] = value
    return found


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
    return value


def whole(query: Mapping[str, str], name: str) -> int | None:
    """Return an integer from 0 to 2^63 - 1, None if it is not given; raises ValueError."""
    if not (given := query.get(name)):
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) < 1 << 63):
        raise ValueError(f"{name} {given[:20]!r}: give an integer of 0 or more")
    return int(given)
