"""Reads JSON and TOML files key by key: every value typed, every complaint naming its key."""

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeGuard, TypeVar

from ....runtime.bundle.dataclass_json import parse_object, read_bounded
from ....runtime.errors import ModelError

T = TypeVar("T")

MOST_INTEGER = (1 << 31) - 1
MOST_NUMBER = 1e15
MOST_COUNT = 1024
"""Layers, codebooks and heads: what the exporter makes one by one."""


def read_json(path: Path) -> Mapping[str, object]:
    """Read a JSON object; raises ModelError."""
    try:
        return parse_object(read_bounded(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not a JSON object: {error}") from error


def read_toml(path: Path) -> Mapping[str, object]:
    """Read a TOML document; raises ModelError."""
    try:
        return tomllib.loads(read_bounded(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not TOML: {error}") from error


@contextmanager
def located(where: str) -> Iterator[None]:
    """Says in which file or section a `ModelError` raised inside arose."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error


def require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ModelError(complaint)


def require_one_of(key: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise ModelError(f"{key} is {repr(value)[:100]}, not one of {', '.join(map(str, allowed))}")


def require_equal(key: str, value: object, only: object) -> None:
    if value != only:
        raise ModelError(f"{key} is {repr(value)[:100]}; only {only!r} can be exported")


def require_positive(**values: float) -> None:
    for key, value in values.items():
        require(value > 0, f"{key} is {value}; it must be greater than 0")


def require_few(**counts: int) -> None:
    for key, count in counts.items():
        require(0 <= count <= MOST_COUNT, f"{key} is {count}; it must be 0 to {MOST_COUNT}")


class Keys:
    """A JSON object. Keys without a default must be there; what nobody reads is `unread`."""

    def __init__(self, values: object) -> None:
        if not isinstance(values, Mapping):
            raise ModelError(f"expected a JSON object, found {type(values).__name__}")
        self._values = values
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def ignore(self, *keys: str) -> None:
        """Marks keys that say nothing to the exporter."""
        self._read.update(keys)

    def peek(self, key: str) -> object:
        """The value as it stands in the file; not counted as read."""
        return self._values.get(key)

    def unread(self) -> tuple[str, ...]:
        return tuple(str(key) for key in self._values if key not in self._read)

    def refuse_unread(self) -> None:
        if unread := self.unread():
            raise ModelError(f"unknown key {', '.join(unread)}")

    def integer(self, key: str, default: int | None = None) -> int:
        return self._required(key, self.optional_integer(key, default))

    def number(self, key: str, default: float | None = None) -> float:
        return self._required(key, self.optional_number(key, default))

    def text(self, key: str, default: str | None = None) -> str:
        return self._required(key, self.optional_text(key, default))

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        return value if isinstance(value, bool) else self._refuse(key, value, "true or false")

    def optional_integer(self, key: str, default: int | None = None) -> int | None:
        value = self._value(key, default)
        if value is None or _is_integer(value):
            return value
        return self._refuse(key, value, f"an integer of at most {MOST_INTEGER}")

    def optional_number(self, key: str, default: float | None = None) -> float | None:
        value = self._value(key, default)
        if value is None:
            return None
        if _is_number(value):
            return float(value)
        return self._refuse(key, value, f"a number of at most {MOST_NUMBER:g}")

    def optional_text(self, key: str, default: str | None = None) -> str | None:
        value = self._value(key, default)
        return (
            value if value is None or isinstance(value, str) else self._refuse(key, value, "text")
        )

    def optional_integers(self, key: str) -> tuple[int, ...] | None:
        return self._optional_list(
            key, _is_integer, f"a list of integers of at most {MOST_INTEGER}"
        )

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        found = self.optional_integers(key)
        return default if found is None else found

    def optional_texts(self, key: str) -> tuple[str, ...] | None:
        return self._optional_list(key, lambda item: isinstance(item, str), "a list of texts")

    def section(self, key: str) -> "Keys":
        """A JSON object below `key`; an empty one if there is none."""
        with located(key):
            return Keys(self._value(key, None) or {})

    def mapping(self, key: str) -> dict[str, object]:
        """The same as plain data."""
        value = self._value(key, None) or {}
        return dict(value) if isinstance(value, Mapping) else self._refuse(key, value, "an object")

    def _value(self, key: str, default: object) -> object:
        self._read.add(key)
        return self._values.get(key, default)

    def _required(self, key: str, value: T | None) -> T:
        if value is None:
            raise ModelError(f"{key} is missing" if key not in self else f"{key} is null")
        return value

    def _optional_list(
        self, key: str, fits: Callable[[object], bool], expected: str
    ) -> tuple[Any, ...] | None:
        value = self._value(key, None)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            return self._refuse(key, value, expected)
        return tuple(value) if all(map(fits, value)) else self._refuse(key, value, expected)

    def _refuse(self, key: str, value: object, expected: str) -> NoReturn:
        raise ModelError(f"{key} is {repr(value)[:100]}; it must be {expected}")


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -MOST_NUMBER <= value <= MOST_NUMBER


def _is_integer(value: object) -> TypeGuard[int]:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return -MOST_INTEGER <= value <= MOST_INTEGER
