"""Which weights of a language model are rounded to how many bits, and by what."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from ..modules.linear import QuantizedLinear
from .quantize import BlockFormat, pack


def pack_alike(path: str, weight: Tensor, blocks: BlockFormat) -> dict[str, np.ndarray]:  # noqa: ARG001
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
    pack: Callable[[str, Tensor, BlockFormat], dict[str, np.ndarray]] = pack_alike

    def write(self, module: nn.Module) -> None:
        """Has the layers of a module that are quantised written by this recipe."""
        for path, layer in module.named_modules():
            if isinstance(layer, QuantizedLinear):
                layer.write_as(self.kept(path) or layer.blocks, partial(self.pack, path))
