"""How a tensor of a graph is made from a checkpoint: what is read, and the operations on it.

A formula is written when a graph is traced, and evaluated with numpy alone when it is filled. The
sums of a formula are made in 64 bits, so that every machine rounds them alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.typing import Array
from ..checkpoint.tensor_views import Tensors
from .quantize import BlockFormat, Pack, Packed, pack

EPSILON = 1e-5
"""Least usage of a cluster (moshi quantization/core_vq.py `EuclideanCodebook`), and what a layer
norm adds to the variance."""


@dataclass(frozen=True)
class Formula:
    """An operation by its name, its arguments and the formulas of its inputs."""

    operation: str
    arguments: tuple[Any, ...] = ()
    inputs: tuple["Formula", ...] = ()

    def then(self, operation: str, *arguments: Any) -> "Formula":
        """Apply an operation to this formula's tensor."""
        return Formula(operation, arguments, (self,))

    def transposed(self, *axes: int) -> "Formula":
        return self.then("transpose", *axes)

    def reshaped(self, *shape: int) -> "Formula":
        return self.then("reshape", *shape)

    def rows(self, start: int, stop: int) -> "Formula":
        """Take some rows, the last one exclusive."""
        return self.then("rows", start, stop)

    def padded(self, rows: int) -> "Formula":
        """Add rows of zeros."""
        return self.then("pad", rows)

    def scaled(self, factor: float) -> "Formula":
        """Multiply by a number, in float32."""
        return self if factor == 1 else self.then("scale", factor)

    @property
    def moves_only(self) -> bool:
        """Whether every number of the result is one of the checkpoint's, or 0."""
        return self.operation in MOVES and all(part.moves_only for part in self.inputs)


def read(name: str) -> Formula:
    """A canonical tensor of the checkpoint, floats as float32."""
    return Formula("read", (name,))


def joined(*parts: Formula) -> Formula:
    """Rows of several tensors, one after the other."""
    return parts[0] if len(parts) == 1 else Formula("join", (), parts)


def quantized(weight: Formula, blocks: BlockFormat, part: str) -> Formula:
    """A part of what `pack` makes of a weight."""
    arguments = (blocks.bits, blocks.size, blocks.symmetric)
    return weight.then("quantize", *arguments).then("part", part)


def quantized_by(pack: Pack, path: str, weight: Formula, blocks: BlockFormat, part: str) -> Formula:
    """The same of a recipe that packs in its own way; such a formula cannot be written down."""
    return weight.then("pack_by", pack, path, blocks).then("part", part)


class Evaluation:
    """Evaluates formulas on a checkpoint, one after the other.

    The parts of a quantized weight are made together; those that are not asked for yet are kept.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._packed: dict[Formula, Packed] = {}

    def value(self, formula: Formula) -> Array:
        """The tensor of a formula; raises ModelError as reading the checkpoint does."""
        operation, arguments = formula.operation, formula.arguments
        if operation == "read":
            return self._tensors.read(*arguments)
        if operation == "part":
            return self._part(formula.inputs[0], *arguments)
        inputs = [self.value(part) for part in formula.inputs]
        with np.errstate(over="ignore"):
            return OPERATIONS[operation](*inputs, *arguments)

    def pieces(self, formula: Formula) -> Iterator[Array]:
        """The same as rows that follow one another, so that what is joined is never whole."""
        if formula.operation == "join":
            for part in formula.inputs:
                yield from self.pieces(part)
        elif formula.operation == "pad":
            piece = None
            for piece in self.pieces(formula.inputs[0]):
                yield piece
            assert piece is not None
            yield np.zeros((*formula.arguments, *piece.shape[1:]), piece.dtype)
        else:
            yield self.value(formula)

    def _part(self, formula: Formula, part: str) -> Array:
        if formula not in self._packed:
            weight = self.value(formula.inputs[0])
            self._packed[formula] = PACKERS[formula.operation](weight, *formula.arguments)
        parts = self._packed[formula]
        value = parts.pop(part)
        if not parts:
            del self._packed[formula]
        return value


def _quantize(weight: Array, bits: int, size: int, symmetric: bool) -> Packed:
    return pack(weight, BlockFormat(bits, size, symmetric))


def _pack(weight: Array, pack: Pack, path: str, blocks: BlockFormat) -> Packed:
    return dict(pack(path, weight, blocks))


def _halves(weight: Array, heads: int, head_dim: int) -> Array:
    """The rows of so many heads, interleaved pairs as two halves."""
    turning = heads * head_dim
    pairs = weight[:turning].reshape(-1, head_dim // 2, 2, weight.shape[1])
    return np.concatenate([pairs.swapaxes(1, 2).reshape(turning, -1), weight[turning:]])


def _pad(values: Array, rows: int) -> Array:
    return np.pad(values, [(0, rows)] + [(0, 0)] * (values.ndim - 1))


def _halve(values: Array) -> Array:
    """In float16; raises ModelError if that loses anything."""
    halves = values.astype(np.float16)
    if not np.array_equal(halves, values):
        raise ModelError("a weight of a float16 checkpoint does not fit in float16; report this")
    return halves


def _centroids(sums: Array, usage: Array) -> Array:
    """`[bins, dim]`: sums of what fell to a cluster over its usage."""
    return sums / np.maximum(usage, np.float32(EPSILON))[:, None]


def _half_norms(vectors: Array) -> Array:
    """`[bins]`: minus half of the squared length of each vector."""
    squares: Array = np.square(vectors, dtype=np.float64).sum(1)
    return (-0.5 * squares).astype(np.float32)


def _layer_norm(rows: Array, weight: Array, bias: Array) -> Array:
    values = rows.astype(np.float64)
    values -= values.mean(1, keepdims=True)
    values /= np.sqrt(np.square(values).mean(1, keepdims=True) + EPSILON)
    return (values * weight + bias).astype(np.float32)


def _product(rows: Array, weight: Array) -> Array:
    """`rows [n, in]` times the transpose of `weight [out, in]`."""
    return (rows.astype(np.float64) @ weight.astype(np.float64).T).astype(np.float32)


def _positions(length: int, scale: float, *periods: float) -> Array:
    """Sinusoidal positions `[length, 2 * len(periods)]`, cosines first."""
    phase = np.arange(length, dtype=np.float32)[:, None] / np.array(periods, np.float32)
    table = np.concatenate([f(phase.astype(np.float64)) for f in (np.cos, np.sin)], axis=-1)
    return (scale * table).astype(np.float32)


def _first_steps(name: str, *shape: int) -> Array:
    """The steps of an 8-bit KV cache before calibration: coarse, and wide enough for any model."""
    noise = np.random.default_rng(list(name.encode()))
    return (1.0 + 0.1 * noise.random(shape)).astype(np.float32)


OPERATIONS: dict[str, Callable[..., Array]] = {
    "transpose": lambda values, *axes: values.transpose(axes),
    "reshape": lambda values, *shape: values.reshape(shape),
    "rows": lambda values, start, stop: values[start:stop],
    "pad": _pad,
    "tile": lambda values, times: np.tile(values, times),
    "join": lambda *parts: np.concatenate(parts),
    "halves": _halves,
    "scale": lambda values, factor: values * np.float32(factor),
    "halve": _halve,
    "cast": lambda values, dtype: values.astype(dtype),
    "centroids": _centroids,
    "half_norms": _half_norms,
    "layer_norm": _layer_norm,
    "product": _product,
    "positions": _positions,
    "zeros": lambda *shape: np.zeros(shape, np.float32),
    "first_steps": _first_steps,
}
PACKERS: dict[str, Callable[..., Packed]] = {"quantize": _quantize, "pack_by": _pack}
MOVES = {"read", "transpose", "reshape", "rows", "pad", "tile", "join", "halves", "zeros"}


def dump_formula(formula: Formula) -> list[Any]:
    """The formula as JSON: `[operation, [argument, …], input, …]`.

    Raises ValueError for a recipe that packs in its own way.
    """
    if formula.operation == "pack_by":
        raise ValueError("a recipe that packs in its own way cannot be written down")
    return [formula.operation, list(formula.arguments), *map(dump_formula, formula.inputs)]


def parse_formula(value: list[Any]) -> Formula:
    """The formula that `dump_formula` wrote."""
    operation, arguments, *inputs = value
    return Formula(operation, tuple(arguments), tuple(map(parse_formula, inputs)))
