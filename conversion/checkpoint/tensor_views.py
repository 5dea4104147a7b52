"""Named tensors of a checkpoint, read one at a time from whatever holds them.

The files that hold them, each format in its own module, are read lazily; views put them under other
names. Nothing here knows what the names mean.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.typing import Array

Shape = tuple[int, ...]


class Tensors(Protocol):
    """A set of named tensors, most of them still on disk."""

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor's shape, from headers alone."""

    def dtype(self, name: str) -> str:
        """The type as stored, by its name in safetensors: `F32`, `BF16`, `I8`; `U8` for values that
        are packed into bytes, `F32` for what is computed in it."""

    def read(self, name: str, rows: slice | None = None) -> Array:
        """One tensor, or some rows of it (its first axis).

        Floating types come as float32, which holds every value of bfloat16 and float16; others
        as they are. The result may share memory with the source: do not write to it.
        """


@dataclass(frozen=True)
class Piece:
    """A tensor of the source, or some of its rows."""

    name: str
    rows: slice | None = None


def joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class TensorAssembly:
    """How one tensor of a view is made: its pieces are read, built into one, and reshaped.

    `dtype` is its type if it is computed; else it is stored as its first piece is.
    """

    pieces: tuple[Piece, ...]
    shape: Shape
    build: Callable[[Sequence[Array]], Array] = joined
    dtype: str | None = None


class Renamed:
    """A view with names of its own, each made from tensors of another set when it is read."""

    def __init__(self, source: Tensors, assemblies: Mapping[str, TensorAssembly]) -> None:
        self._source = source
        self._assemblies = dict(assemblies)
        self._shapes = {name: assembly.shape for name, assembly in assemblies.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        assembly = self._assemblies[name]
        return assembly.dtype or self._source.dtype(assembly.pieces[0].name)

    def read(self, name: str, rows: slice | None = None) -> Array:
        assembly = self._assemblies[name]
        if rows is not None and self._is_only_renamed(assembly):
            return self._source.read(assembly.pieces[0].name, rows)
        parts = [self._source.read(piece.name, piece.rows) for piece in assembly.pieces]
        tensor = assembly.build(parts).reshape(assembly.shape)
        return tensor if rows is None else tensor[rows]

    def _is_only_renamed(self, assembly: TensorAssembly) -> bool:
        """Whether a tensor is one of the source as it is, so that some rows can be read alone."""
        first = assembly.pieces[0]
        kept = self._source.shapes()[first.name] == assembly.shape
        return (
            kept and first.rows is None and len(assembly.pieces) == 1 and assembly.build is joined
        )


class Overlay:
    """One set on top of another: if both have a name, the top one's tensor counts."""

    def __init__(self, base: Tensors, top: Tensors) -> None:
        self._base, self._top = base, top
        self._shapes = {**base.shapes(), **top.shapes()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        return self._holder(name).dtype(name)

    def read(self, name: str, rows: slice | None = None) -> Array:
        return self._holder(name).read(name, rows)

    def _holder(self, name: str) -> Tensors:
        return self._top if name in self._top.shapes() else self._base


def whole(source: Tensors, name: str) -> TensorAssembly:
    """The tensor as it is."""
    return TensorAssembly((Piece(name),), source.shapes()[name])


def renamed(source: Tensors, rule: Callable[[str], str | None]) -> Renamed:
    """A view in which every tensor has the name that `rule` gives it; None leaves it out.

    Raises:
        ModelError: two tensors get the same name.
    """
    return Renamed(source, collected((rule(name), whole(source, name)) for name in source.shapes()))


def collected(assemblies: Iterable[tuple[str | None, TensorAssembly]]) -> dict[str, TensorAssembly]:
    """The assemblies by name, without those that have no name."""
    found: dict[str, TensorAssembly] = {}
    for name, assembly in assemblies:
        if name in found:
            rivals = f"{found[name].pieces[0].name} and {assembly.pieces[0].name}"
            raise ModelError(f"{rivals} both hold {name}")
        if name is not None:
            found[name] = assembly
    return found


def check_tensors(expected: Mapping[str, Shape], tensors: Tensors, what: str) -> None:
    """Compares names and shapes; the alphas of norms may be `[d]` or `[1, 1, d]`.

    Raises:
        ModelError: tensors are missing, unexpected or of another shape; the first of each kind
            are named and all are counted.
    """
    found = tensors.shapes()
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and _flat(name, found[name]) != _flat(name, shape)
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    complaints = [f"{len(all_)} {kind} ({some(all_)})" for kind, all_ in kinds.items() if all_]
    if complaints:
        raise ModelError(f"{what} does not fit its configuration: {'; '.join(complaints)}")


def _flat(name: str, shape: Shape) -> Shape:
    return (math.prod(shape),) if name.endswith(".alpha") else shape


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few of a list, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
