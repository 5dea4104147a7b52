"""How the modules of a bundle are written for a target and a precision."""

from collections.abc import Callable

import torch

from ..conversion.filling.recipe import CODEC_INT8, RECIPES, QuantizationRecipe
from ..conversion.filling.targets import Precisions, Target
from ..runtime.bundle.manifest import Precision
from ..runtime.bundle.manifest import Target as TargetName
from ..runtime.errors import UsageError
from .modules.linear import Style
from .modules.opset_dialect import Native, OpsetDialect, Portable, Scattering

DIALECTS: dict[TargetName, Callable[[], OpsetDialect]] = {
    "cpu": Native,
    "cuda": Scattering,
    "directml": Portable,
    "webgpu": Portable,
    "coreml": Native,
}


def lm_style(
    target: Target, precisions: Precisions, recipe: QuantizationRecipe | None = None
) -> Style:
    """The language model's, its weights by another recipe if one is given; raises UsageError if
    the precision takes none."""
    precision = precisions.model
    if recipe is not None and precision not in RECIPES:
        raise UsageError(f"a recipe is for {' and '.join(RECIPES)}, not for {precision}")
    half, single = torch.float16, torch.float32
    recipe = recipe or RECIPES.get(precision)
    return Style(
        DIALECTS[target.name](),
        stored=single if precision == "fp32" else half,
        compute=half if target.computes_half and precision != "fp32" else single,
        blocks=None if recipe is None else recipe.blocks,
        sensitive=None if recipe is None else recipe.sensitive,
        accuracy_level=target.accuracy_level,
        rounds_cache=precisions.cache == "int8",
    )


def codec_style(target: Target, precision: Precision) -> Style:
    """Mimi's: in float32, or with the weights in 8 bits of its transformers and of the convolutions
    that are products, which changes one code in six."""
    blocks = CODEC_INT8 if precision == "int8" else None
    level = target.accuracy_level
    return Style(DIALECTS[target.name](), blocks=blocks, sensitive=blocks, accuracy_level=level)
