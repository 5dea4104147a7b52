"""The saved form of a stream: a version, and explicit fields that are checked before any is used.

`state_fields` in models/batch.py and the `fields` of each task list what is saved.

docs/saved-streams.md is the format. A name here is a name in files: it stays when classes and
attributes are renamed, and a change of what is saved is a new `VERSION`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import StateSpec
from ..runtime.errors import ModelError, UsageError
from ..runtime.graph.batch_state import check_states

FORMAT = "kyutai-onnx-stream"
OLDEST, VERSION = 1, 2
"""The versions that are read; the last is written."""

AGAIN = "save the stream again"
LARGEST = 2**53 - 1
"""The largest integer that every reader of JSON holds exactly."""


class Field(Protocol):
    """What a value has to be."""

    def check(self, value: Any, place: str) -> None:
        """Raises ModelError for another value, UsageError for one of another model."""


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, place: str) -> None:
        _expect(isinstance(value, bool), value, place, "true or false")


@dataclass(frozen=True)
class Integer:
    """An integer from `least` to `most`."""

    least: int = 0
    most: int = LARGEST

    def check(self, value: Any, place: str) -> None:
        fits = type(value) is int and self.least <= value <= self.most
        _expect(fits, value, place, f"an integer from {self.least} to {self.most}")


@dataclass(frozen=True)
class Number:
    """A finite number from `least` on."""

    least: float = -math.inf

    def check(self, value: Any, place: str) -> None:
        fits = type(value) in (int, float) and abs(value) <= LARGEST and value >= self.least
        least = "" if self.least == -math.inf else f" of {self.least:g} or more"
        _expect(fits, value, place, f"a number{least}")


@dataclass(frozen=True)
class String:
    """A text, of a pattern if one is given."""

    pattern: str = ""

    def check(self, value: Any, place: str) -> None:
        fits = isinstance(value, str) and (not self.pattern or re.fullmatch(self.pattern, value))
        _expect(bool(fits), value, place, f"a text{self.pattern and f' like {self.pattern}'}")


@dataclass(frozen=True)
class Nullable:
    """A value, or null."""

    present: Field

    def check(self, value: Any, place: str) -> None:
        if value is not None:
            self.present.check(value, place)


@dataclass(frozen=True)
class Since:
    """A field that came with a version; a stream that was saved before has `default`."""

    version: int
    present: Field
    default: Any

    def check(self, value: Any, place: str) -> None:
        self.present.check(value, place)


@dataclass(frozen=True)
class List:
    """Values of one kind, at most so many."""

    item: Field
    most: int = LARGEST

    def check(self, value: Any, place: str) -> None:
        fits = isinstance(value, list) and len(value) <= self.most
        _expect(fits, value, place, "a list")
        for index, item in enumerate(value):
            self.item.check(item, f"{place}[{index}]")


@dataclass(frozen=True)
class Tensor:
    """An array; an axis is its extent, or a name: axes of one name in a record are equally long.

    Its values are finite, and from `least` to `most`, which broadcast, if these are given.
    """

    dtype: str
    shape: tuple[int | str, ...]
    least: Any = None
    most: Any = None

    def check(self, value: Any, place: str) -> None:
        expected = f"{self.dtype} {list(self.shape)}".replace("'", "")
        fits = isinstance(value, np.ndarray) and value.dtype == self.dtype
        _expect(fits and self._extents_fit(value.shape), value, place, expected)
        values = np.isfinite(value).all()
        if self.least is not None:
            values &= (value >= self.least).all()
        if self.most is not None:
            values &= (value <= self.most).all()
        _expect(bool(values), value, place, f"{expected} of values in range")

    def _extents_fit(self, found: tuple[int, ...]) -> bool:
        return len(found) == len(self.shape) and all(
            isinstance(axis, str) or axis == extent
            for axis, extent in zip(self.shape, found, strict=True)
        )


@dataclass(frozen=True)
class GraphState:
    """The states of the graphs that have these, a row's, as `Streams.save` returns them."""

    specs: Iterable[StateSpec]

    def check(self, value: Any, place: str) -> None:
        fits = isinstance(value, dict) and all(isinstance(v, np.ndarray) for v in value.values())
        _expect(fits, value, place, "arrays by the names of a graph's states")
        check_states(list(self.specs), value)


@dataclass(frozen=True)
class Record:
    """Named fields: all of them, and no others."""

    fields: Mapping[str, Field] = field(default_factory=dict)

    def check(self, value: Any, place: str = "") -> None:
        _expect(isinstance(value, dict), value, place, "an object")
        for name in sorted(self.fields.keys() ^ value.keys()):
            problem = "is missing" if name in self.fields else "is unknown"
            raise ModelError(f"this saved stream is damaged: {_at(place, name)} {problem}; {AGAIN}")
        extents: dict[str, int] = {}
        for name, kind in self.fields.items():
            kind.check(value[name], _at(place, name))
            if isinstance(kind, Tensor):
                for axis, extent in zip(kind.shape, value[name].shape, strict=True):
                    known = extents.setdefault(str(axis), extent)
                    _expect(known == extent, value[name], _at(place, name), f"{known} {axis}")

    def upgraded(self, value: Any, version: int) -> Any:
        """What was saved in a version, with the fields that came later."""
        if not isinstance(value, dict):
            return value
        found = dict(value)
        for name, kind in self.fields.items():
            if isinstance(kind, Since) and version < kind.version:
                found.setdefault(name, deepcopy(kind.default))
            record = kind.present if isinstance(kind, Nullable | Since) else kind
            if isinstance(record, Record) and name in found:
                found[name] = record.upgraded(found[name], version)
        return found

    def __or__(self, other: "Record") -> "Record":
        """The fields of both."""
        return Record({**self.fields, **other.fields})


def _at(place: str, name: str) -> str:
    return f"{place}.{name}".removeprefix(".")


def _expect(holds: bool, value: Any, place: str, expected: str) -> None:
    if not holds:
        raise ModelError(
            f"this saved stream is damaged: {place or 'the whole'} is {_shown(value)}, {expected} "
            f"expected; {AGAIN}"
        )


def _shown(value: Any) -> str:
    """A value in a few words, whatever it is."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


HEADER = Record(
    {
        "format": String(),
        "version": Integer(),
        "kind": String(),
        "model": String(),
        "weights": String(),
    }
)


def state_header(bundle: Bundle, kind: str) -> dict[str, Any]:
    """The fields that say what is saved: its format and version, its kind and its model."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "model": bundle.manifest.name,
        "weights": bundle.identity,
    }


def check_state(saved: Any, bundle: Bundle, kind: str, fields: Record) -> dict[str, Any]:
    """Checks the header and every field of a saved stream, so that loading it cannot fail halfway.

    Returns it as this version would have saved it.

    Raises UsageError for a stream of another model or kind, ModelError for a version that this
    program does not read and for fields that are missing, unknown or wrong.
    """
    _check_version(saved)
    HEADER.check({name: saved[name] for name in HEADER.fields if name in saved})
    if saved["kind"] != kind:
        raise UsageError(f"this is a saved {saved['kind'][:40]} stream, not a {kind} one")
    if saved["weights"] != bundle.identity:
        raise UsageError(
            f"this stream was saved from {saved['model'][:80]}, not from the weights of "
            f"{bundle.manifest.name}"
        )
    whole = HEADER | fields
    upgraded: dict[str, Any] = whole.upgraded(saved, saved["version"])
    whole.check(upgraded)
    return upgraded


def _check_version(saved: Any) -> None:
    form = saved.get("format", FORMAT) if isinstance(saved, dict) else None
    if not isinstance(form, str) or form != FORMAT:
        raise ModelError("this is not a saved stream; give one that '--save-state' wrote")
    version = saved.get("version")
    if version is None:
        raise ModelError(
            "this stream was saved without a version, by kyutai-onnx before 1.0: load and finish "
            f"it there, or {AGAIN} here"
        )
    if type(version) is not int or not OLDEST <= version <= VERSION:
        versions = f"{OLDEST} to {VERSION}" if OLDEST < VERSION else f"{VERSION}"
        raise ModelError(
            f"this stream was saved in version {_shown(version)} of its format, this program "
            f"reads version {versions}: load it with the kyutai-onnx that saved it, or a later one"
        )
