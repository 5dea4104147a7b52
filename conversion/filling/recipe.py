"""Which weights of a language model are rounded to how many bits, and by what."""

from collections.abc import Callable
from dataclasses import dataclass

from ...runtime.bundle.manifest import Precision
from ...runtime.typing import Array
from .quantize import BlockFormat, Pack, Packed, pack


def pack_alike(path: str, weight: Array, blocks: BlockFormat) -> Packed:  # noqa: ARG001
    """Rounds every layer to the nearest."""
    return pack(weight, blocks)


@dataclass(frozen=True)
class QuantizationRecipe:
    """`blocks` is the format of linear layers, `sensitive` that of the layers next to a decision.

    `kept` names another format for a layer by its path, or None; `pack` is what turns the weight of
    the layer of that path, its rows arranged as they are written, into its format.
    """

    blocks: BlockFormat
    sensitive: BlockFormat
    kept: Callable[[str], BlockFormat | None] = lambda _: None
    pack: Pack = pack_alike


INT8 = BlockFormat(bits=8, size=128, fitted=True)
INT4 = BlockFormat(bits=4, size=64, symmetric=False, fitted=True)
CODEC_INT8 = BlockFormat(bits=8, size=32)
RECIPES: dict[Precision, QuantizationRecipe] = {
    "int8": QuantizationRecipe(INT8, INT8),
    "int4": QuantizationRecipe(INT4, INT8),
}
"""The recipe of each precision that quantizes, unless a request has its own."""
