"""Frozen dataclasses from JSON and back, every type checked and every error naming its place."""

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Between:
    """What `Annotated` says of a number's bounds, both of them included."""

    least: float
    most: float

    @property
    def expected(self) -> str:
        return f"{self.least} to {self.most}"

    def holds(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most)


@dataclass(frozen=True)
class OneLine:
    """What `Annotated` says of a text that is shown: no control characters in it."""

    expected = "a text of one line"

    def holds(self, value: str) -> bool:
        return CONTROL.search(value) is None


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATE = re.compile("[\ud800-\udfff]")

MOST_BYTES = 64 << 20
"""Of a file of settings: a manifest, a configuration, an index."""
MOST_DEPTH = 64
"""Objects and lists within one another."""


def parse_json(data: str | bytes) -> Any:
    """Any JSON value, with numbers that are finite and texts that UTF-8 can write.

    Raises ValueError for anything else, and for what is nested more than `MOST_DEPTH` deep.
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    surrogates = "\\ud" in text or "\\uD" in text
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if text.count("[") + text.count("{") > MOST_DEPTH and _deeper(value, MOST_DEPTH):
        raise ValueError("nested too deep")
    if surrogates and SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("half a character, a lone surrogate")
    return value


def parse_object(data: str | bytes) -> dict[str, Any]:
    """A JSON object; raises ValueError as `parse_json` does, and for another value."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004
    return value


def read_bounded(path: Path) -> bytes:
    """A file of settings; raises ValueError for more than `MOST_BYTES`, OSError as reading does."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MB")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _deeper(value: object, depth: int) -> bool:
    level: Iterable[object] = [value]
    for _ in range(depth + 1):
        boxes = [box for box in level if isinstance(box, dict | list)]
        if not boxes:
            return False
        level = [item for box in boxes for item in (box.values() if isinstance(box, dict) else box)]
    return True


def parse(kind: type[T], value: object, place: str = "") -> T:
    """Builds the dataclass `kind` from parsed JSON; unknown keys are ignored.

    Raises ValueError with a line such as `graphs.mimi_encoder.inputs[0].dtype: expected a string`.
    """
    return _parse(kind, value, place)  # type: ignore[no-any-return]


def dump(value: object) -> Any:
    """The JSON value of a dataclass; fields that are None are left out."""
    if dataclasses.is_dataclass(value):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: dump(item) for name, item in fields if item is not None}
    if isinstance(value, dict):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return value


def _parse(kind: Any, value: object, place: str) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, place)
    if origin is Annotated:
        inner, *limits = get_args(kind)
        found = _parse(inner, value, place)
        return next((_check(m.holds(found), found, place, m.expected) for m in limits), found)
    if origin in (Union, types.UnionType):
        return _parse_union(get_args(kind), value, place)
    if origin is Literal:
        return _check(value in get_args(kind), value, place, f"one of {list(get_args(kind))}")
    if origin is tuple:
        item = get_args(kind)[0]
        items = _check(isinstance(value, list), value, place, "a list")
        return tuple(_parse(item, v, f"{place}[{i}]") for i, v in enumerate(items))
    if origin is dict:
        name, item = get_args(kind)
        entries = _check(isinstance(value, dict), value, place, "an object")
        return {
            _parse(name, key, place): _parse(item, v, f"{place}.{key}".strip("."))
            for key, v in entries.items()
        }
    return _parse_scalar(kind, value, place)


def _parse_dataclass(kind: Any, value: object, place: str) -> Any:
    entries = _check(isinstance(value, dict), value, place, "an object")
    hints = _hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        where = f"{place}.{field.name}".strip(".")
        if field.name in entries:
            arguments[field.name] = _parse(hints[field.name], entries[field.name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: missing")
    return kind(**arguments)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _parse_union(kinds: tuple[Any, ...], value: object, place: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    errors = []
    for kind in (k for k in kinds if k is not types.NoneType):
        try:
            return _parse(kind, value, place)
        except ValueError as error:
            errors.append(error)
    raise errors[-1]


NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _parse_scalar(kind: Any, value: object, place: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    matches = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _check(matches, value, place, NAMES[kind])


def _check(holds: bool, value: Any, place: str, expected: str) -> Any:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        raise ValueError(f"{place or 'the document'}: expected {expected}, found {shown}")
    return value


def write_json(path: Path, value: object) -> None:
    """Writes a dataclass as a JSON file, indented."""
    path.write_text(json.dumps(dump(value), indent=2, ensure_ascii=False) + "\n", "utf-8")
