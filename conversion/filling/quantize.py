"""Weights of 8 or 4 bits in the layout of `com.microsoft.MatMulNBits`.

A row is cut into blocks of its input axis; each block has one scale and, when asymmetric, one zero
point. Values are stored lowest bits first, 4-bit ones two to a byte.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...runtime.typing import Array

LEAST = 32
"""Weights of the smallest block that is worth its scale."""


@dataclass(frozen=True)
class BlockFormat:
    """`bits` (4 or 8) a weight, `size` weights a block, zero points in the middle if symmetric;
    where `fitted`, smaller blocks for rows that this size does not divide."""

    bits: int
    size: int = 32
    symmetric: bool = True
    fitted: bool = False

    def fit(self, dim_in: int) -> "BlockFormat":
        """The format of rows of that length."""
        size = self.size
        while self.fitted and size > LEAST and dim_in % size:
            size //= 2
        return replace(self, size=size)

    @property
    def bytes(self) -> int:
        """Bytes of one block's values."""
        return self.size * self.bits // 8

    def count(self, dim_in: int) -> int:
        """Blocks in a row; the last one is padded with zeros."""
        return -(-dim_in // self.size)

    def zero_bytes(self, dim_in: int) -> int:
        """Bytes of a row's zero points."""
        return -(-self.count(dim_in) * self.bits // 8)


Packed = dict[str, Array]
"""`packed`, `scales` and, if asymmetric, `zero_points`."""
Pack = Callable[[str, Array, BlockFormat], Packed]
"""Makes of the weight `[out, in]` of the layer at a path what `pack` makes of it."""

AT_ONCE = 1 << 22
"""Weights of the rows that are quantized together."""


def pack(weight: Array, blocks: BlockFormat) -> Packed:
    """Quantises `weight [out, in]` to `packed`, `scales` and, if asymmetric, `zero_points`."""
    rows = max(AT_ONCE // weight.shape[1], 1)
    parts = [_pack_rows(weight[row : row + rows], blocks) for row in range(0, len(weight), rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pack_rows(weight: Array, blocks: BlockFormat) -> Packed:
    in_blocks = grouped(weight.astype(np.float32, copy=False), blocks)
    scales, zeros = grid(in_blocks, blocks)
    return store(nearest(in_blocks, scales, zeros, blocks), scales, zeros, blocks)


def grouped(weight: Array, blocks: BlockFormat) -> Array:
    """`[out, blocks, size]` of `weight [out, in]`, the last block padded with zeros."""
    rows, dim_in = weight.shape
    count = blocks.count(dim_in)
    padded = np.pad(weight, ((0, 0), (0, count * blocks.size - dim_in)))
    return padded.reshape(rows, count, blocks.size)


def grid(in_blocks: Array, blocks: BlockFormat) -> tuple[Array, Array]:
    """Scale and zero point of each block `[..., size]`, `[..., 1]` both."""
    return (_symmetric if blocks.symmetric else _asymmetric)(in_blocks, blocks.bits)


def nearest(in_blocks: Array, scales: Array, zeros: Array, blocks: BlockFormat) -> Array:
    """The levels, as floats, nearest to weights: one stands for `(level - zero) * scale`."""
    levels: Array = in_blocks / scales
    levels += zeros
    np.rint(levels, out=levels)
    return np.clip(levels, 0, (1 << blocks.bits) - 1, out=levels)


def store(levels: Array, scales: Array, zeros: Array, blocks: BlockFormat) -> Packed:
    """`levels [out, blocks, size]` with their grid, as `pack` returns them."""
    arrays = {
        "packed": _nibbles(levels.astype(np.uint8), blocks.bits),
        "scales": scales[..., 0].astype(np.float32),
    }
    if not blocks.symmetric:
        arrays["zero_points"] = _nibbles(zeros[..., 0].astype(np.uint8), blocks.bits)
    return arrays


def unpack(arrays: Packed, blocks: BlockFormat, dim_in: int) -> Array:
    """The weight `[out, in]` in float32 that the packed form stands for."""
    values = _bytes(arrays["packed"], blocks.bits).astype(np.float32)
    zeros: Array | float = float(1 << (blocks.bits - 1))
    if "zero_points" in arrays:
        count = arrays["scales"].shape[1]
        zeros = _bytes(arrays["zero_points"], blocks.bits)[:, :count, None].astype(np.float32)
    weight: Array = (values - zeros) * arrays["scales"][..., None]
    return weight.reshape(len(weight), -1)[:, :dim_in]


def _symmetric(in_blocks: Array, bits: int) -> tuple[Array, Array]:
    """The largest value of a block falls on the lowest level, whichever its sign: the side that has
    one level more."""
    middle = 1 << (bits - 1)
    index = np.abs(in_blocks).argmax(-1)[..., None]
    scales = np.take_along_axis(in_blocks, index, -1) / -middle
    scales[scales == 0] = 1
    return scales, np.full_like(scales, middle)


def _asymmetric(in_blocks: Array, bits: int) -> tuple[Array, Array]:
    """The block's range, widened to hold 0, spans all levels."""
    levels = (1 << bits) - 1
    low = np.minimum(in_blocks.min(-1, keepdims=True), 0)
    high = np.maximum(in_blocks.max(-1, keepdims=True), 0)
    scales = (high - low) / levels
    scales[scales == 0] = 1
    return scales, np.clip(np.rint(-low / scales), 0, levels)


def _nibbles(values: Array, bits: int) -> Array:
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])
    pairs: Array = values[..., 0::2] | (values[..., 1::2] << 4)
    return pairs


def _bytes(packed: Array, bits: int) -> Array:
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
