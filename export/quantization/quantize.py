"""Weights of 8 or 4 bits in the layout of `com.microsoft.MatMulNBits`.

A row is cut into blocks of its input axis; each block has one scale and, when asymmetric, one zero
point. Values are stored lowest bits first, 4-bit ones two to a byte.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

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


Pack = Callable[[Tensor, BlockFormat], dict[str, np.ndarray]]
"""Makes of a weight `[out, in]` what `pack` makes of it."""


def pack(weight: Tensor, blocks: BlockFormat) -> dict[str, np.ndarray]:
    """Quantises `weight [out, in]` to `packed`, `scales` and, if asymmetric, `zero_points`."""
    in_blocks = grouped(weight.float(), blocks)
    scales, zeros = grid(in_blocks, blocks)
    return store(nearest(in_blocks, scales, zeros, blocks), scales, zeros, blocks)


def grouped(weight: Tensor, blocks: BlockFormat) -> Tensor:
    """`[out, blocks, size]` of `weight [out, in]`, the last block padded with zeros."""
    rows, dim_in = weight.shape
    count = blocks.count(dim_in)
    padded = torch.nn.functional.pad(weight, (0, count * blocks.size - dim_in))
    return padded.reshape(rows, count, blocks.size)


def grid(in_blocks: Tensor, blocks: BlockFormat) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each block `[..., size]`, `[..., 1]` both."""
    return (_symmetric if blocks.symmetric else _asymmetric)(in_blocks, blocks.bits)


def nearest(in_blocks: Tensor, scales: Tensor, zeros: Tensor, blocks: BlockFormat) -> Tensor:
    """The levels, as floats, nearest to weights: one stands for `(level - zero) * scale`."""
    return torch.round(in_blocks / scales + zeros).clamp_(0, (1 << blocks.bits) - 1)


def store(
    levels: Tensor, scales: Tensor, zeros: Tensor, blocks: BlockFormat
) -> dict[str, np.ndarray]:
    """`levels [out, blocks, size]` with their grid, as `pack` returns them."""
    arrays = {
        "packed": _nibbles(levels.to(torch.uint8), blocks.bits).numpy(),
        "scales": scales[..., 0].contiguous().numpy(),
    }
    if not blocks.symmetric:
        arrays["zero_points"] = _nibbles(zeros[..., 0].to(torch.uint8), blocks.bits).numpy()
    return arrays


def unpack(arrays: dict[str, np.ndarray], blocks: BlockFormat, dim_in: int) -> np.ndarray:
    """The weight `[out, in]` in float32 that the packed form stands for."""
    values = _bytes(arrays["packed"], blocks.bits).astype(np.float32)
    zeros: np.ndarray | float = float(1 << (blocks.bits - 1))
    if "zero_points" in arrays:
        count = arrays["scales"].shape[1]
        zeros = _bytes(arrays["zero_points"], blocks.bits)[:, :count, None].astype(np.float32)
    weight: np.ndarray = (values - zeros) * arrays["scales"][..., None]
    return weight.reshape(len(weight), -1)[:, :dim_in]


def _symmetric(grouped: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The largest value of a block falls on the lowest level, whichever its sign: the side that has
    one level more."""
    middle = 1 << (bits - 1)
    index = grouped.abs().argmax(-1, keepdim=True)
    scales = grouped.gather(-1, index) / -middle
    scales = torch.where(scales == 0, torch.ones_like(scales), scales)
    return scales, torch.full_like(scales, middle)


def _asymmetric(grouped: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The block's range, widened to hold 0, spans all levels."""
    levels = (1 << bits) - 1
    low = grouped.amin(-1, keepdim=True).clamp(max=0)
    high = grouped.amax(-1, keepdim=True).clamp(min=0)
    scales = (high - low) / levels
    scales = torch.where(scales == 0, torch.ones_like(scales), scales)
    return scales, torch.round(-low / scales).clamp(0, levels)


def _nibbles(values: Tensor, bits: int) -> Tensor:
    if bits == 8:
        return values.contiguous()
    if values.shape[-1] % 2:
        values = torch.nn.functional.pad(values, (0, 1))
    return values[..., 0::2] | (values[..., 1::2] << 4)


def _bytes(packed: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
