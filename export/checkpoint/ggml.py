"""How ggml packs the values of a tensor, and how they come back as float32.

Knows nothing of files. The layouts are those of ggml-common.h: numbers are little-endian, and a
block's float16 scale (and minimum) come before its integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

BLOCK = 32
"""Values that share a scale, in all the block formats read here."""


@dataclass(frozen=True)
class Packing:
    """One of ggml's types: `values` of them take `size` bytes.

    `unpack` turns bytes `[blocks, size]` into float32 `[blocks, values]`. `dtype` is torch's name
    for the type, uint8 where it has none.
    """

    name: str
    values: int
    size: int
    unpack: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.uint8


def _plain(name: str, dtype: torch.dtype) -> Packing:
    def unpack(blocks: Tensor) -> Tensor:
        return blocks.view(dtype).to(torch.float32)

    return Packing(name, 1, dtype.itemsize, unpack, dtype)


def _float16(blocks: Tensor, start: int) -> Tensor:
    return blocks[:, start : start + 2].contiguous().view(torch.float16).to(torch.float32)


def _unpack_q8_0(blocks: Tensor) -> Tensor:
    codes = blocks[:, 2:].view(torch.int8).to(torch.float32)
    return codes.mul_(_float16(blocks, 0))


def _unpack_small(blocks: Tensor, bits: int, minimum: bool) -> Tensor:
    """4 or 5 bits a value, times the block's scale, from its minimum up or around zero."""
    start = 4 if minimum else 2
    codes = _nibbles(blocks[:, -16:])
    if bits == 5:
        codes |= _fifth_bits(blocks[:, start : start + 4]) << 4
    values = codes.to(torch.float32)
    if minimum:
        return values.mul_(_float16(blocks, 0)).add_(_float16(blocks, 2))
    return values.sub_(2 ** (bits - 1)).mul_(_float16(blocks, 0))


def _nibbles(packed: Tensor) -> Tensor:
    """The block's first half lies in the low halves of the bytes, the second in the high ones."""
    return torch.cat([packed & 15, packed >> 4], 1)


def _fifth_bits(packed: Tensor) -> Tensor:
    """One bit a value, the lowest of the first byte first: `[blocks, 4]` to `[blocks, 32]`."""
    bits = packed[:, :, None] >> torch.arange(8, dtype=torch.uint8)
    return (bits & 1).flatten(1)


def _small(name: str, bits: int, minimum: bool) -> Packing:
    size = 2 * (1 + minimum) + BLOCK * bits // 8
    return Packing(name, BLOCK, size, partial(_unpack_small, bits=bits, minimum=minimum))


PACKINGS = {
    0: _plain("F32", torch.float32),
    1: _plain("F16", torch.float16),
    2: _small("Q4_0", 4, minimum=False),
    3: _small("Q4_1", 4, minimum=True),
    6: _small("Q5_0", 5, minimum=False),
    7: _small("Q5_1", 5, minimum=True),
    8: Packing("Q8_0", BLOCK, 2 + BLOCK, _unpack_q8_0),
    30: _plain("BF16", torch.bfloat16),
}
"""The types that are read, by ggml's number."""

OTHER_NAMES = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
}
"""Types that are not, for messages."""
