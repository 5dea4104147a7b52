"""The recipes that are compared: formats, layers that keep 8 bits, and ways to round."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch._subclasses.fake_tensor import FakeTensorMode

from kyutai_onnx.conversion.checkpoint.config import LMConfig
from kyutai_onnx.conversion.filling.quantize import BlockFormat
from kyutai_onnx.conversion.filling.recipe import QuantizationRecipe
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions
from kyutai_onnx.export.graphs.lm import TemporalTransformer
from kyutai_onnx.export.modules.linear import Linear, QuantizedLinear
from kyutai_onnx.export.plan import apply_recipe
from kyutai_onnx.export.styles import lm_style
from kyutai_onnx.runtime.bundle.manifest import Precision

from .compensated import Array, pack_compensated, pack_searched

Moments = Mapping[str, Array]
SIZES = (32, 64, 128)
DOWN = r"gating\.linear_out$|linear2$"
OUTPUTS = rf"{DOWN}|out_projs\.0$"


@dataclass(frozen=True)
class Named:
    """A recipe as a bundle is exported by it; without one, the precision says all. `cache` is the
    precision of the KV cache."""

    precision: Precision
    recipe: QuantizationRecipe | None = None
    cache: Precision = "fp32"


def all_recipes(layers: int, moments: Callable[[], Moments]) -> dict[str, Callable[[], Named]]:
    """By name, for a model of so many layers; the moments of their inputs are asked for by the
    recipes that need them."""
    found: dict[str, Callable[[], Named]] = {
        "fp32": lambda: Named("fp32"),
        "fp16": lambda: Named("fp16"),
        "fp32, KV cache int8": lambda: Named("fp32", cache="int8"),
        "int8 as exported": lambda: Named("int8"),
        "int4 as exported": lambda: Named("int4", cache="int8"),
    }
    for size in (*SIZES, 256):
        found[f"int8, {size}"] = partial(_plain, BlockFormat(8, size))
    for symmetric in (True, False):
        for size in SIZES:
            blocks = BlockFormat(4, size, symmetric)
            found[name_of(blocks)] = partial(_plain, blocks)
    ends = rf"layers\.(0|{layers - 1})\."
    kept = {"down projections": DOWN, "outputs": OUTPUTS, "first and last layer": ends}
    for size in (32, 128):
        blocks = BlockFormat(4, size, symmetric=False)
        for what, pattern in kept.items():
            found[f"{name_of(blocks)}, {what} int8"] = partial(_mixed, blocks, pattern)
        found[f"{name_of(blocks)}, searched"] = partial(_searched, blocks)
        found[f"{name_of(blocks)}, compensated"] = partial(_compensated, blocks, moments)
    return found


def name_of(blocks: BlockFormat) -> str:
    return f"int{blocks.bits} {'symmetric' if blocks.symmetric else 'asymmetric'}, {blocks.size}"


def _precision(blocks: BlockFormat) -> Precision:
    return "int8" if blocks.bits == 8 else "int4"


def _heads(blocks: BlockFormat) -> BlockFormat:
    """The heads keep 8 bits, in blocks of the same size."""
    return BlockFormat(8, blocks.size)


def _plain(blocks: BlockFormat) -> Named:
    return Named(_precision(blocks), QuantizationRecipe(blocks, _heads(blocks)))


def _mixed(blocks: BlockFormat, pattern: str) -> Named:
    def kept(path: str) -> BlockFormat | None:
        return _heads(blocks) if re.search(pattern, path) else None

    return Named("int4", QuantizationRecipe(blocks, _heads(blocks), kept))


def _searched(blocks: BlockFormat) -> Named:
    return Named("int4", QuantizationRecipe(blocks, _heads(blocks), pack=pack_searched))


def _compensated(blocks: BlockFormat, moments: Callable[[], Moments]) -> Named:
    return Named(
        "int4",
        QuantizationRecipe(blocks, _heads(blocks), pack=partial(pack_compensated, moments())),
    )


def bits_a_weight(named: Named, config: LMConfig) -> float:
    """Of the linear layers of a temporal transformer, scales, zero points and padding counted."""
    bits = weights = 0
    with FakeTensorMode():
        module = TemporalTransformer(
            config, lm_style(TARGETS["cpu"], Precisions(named.precision), named.recipe)
        )
        if named.recipe is not None:
            apply_recipe(named.recipe, module)
        for layer in module.modules():
            if isinstance(layer, Linear):
                weights += layer.weight.numel()
                bits += 8 * layer.weight.numel() * layer.weight.element_size()
            elif isinstance(layer, QuantizedLinear):
                dim_in, dim_out = layer.dims
                weights += dim_in * dim_out
                parts = (layer.packed, layer.scales, layer.zero_points)
                bits += sum(8 * p.numel() * p.element_size() for p in parts if p is not None)
    return bits / weights
