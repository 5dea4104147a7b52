"""What a bundle is made for: the provider, the flavour of its graphs, and its precisions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..runtime.bundle.manifest import Flavour, Precision
from ..runtime.bundle.manifest import Target as TargetName
from ..runtime.errors import UsageError
from .modules.linear import Style
from .modules.opset_dialect import Native, OpsetDialect, Portable, Scattering
from .quantization.quantize import BlockFormat
from .quantization.recipe import QuantizationRecipe

INT8 = BlockFormat(bits=8, size=128, fitted=True)
INT4 = BlockFormat(bits=4, size=64, symmetric=False, fitted=True)
CODEC_INT8 = BlockFormat(bits=8, size=32)
RECIPES: dict[Precision, QuantizationRecipe] = {
    "int8": QuantizationRecipe(INT8, INT8),
    "int4": QuantizationRecipe(INT4, INT8),
}
"""The recipe of each precision that quantizes, unless a request has its own."""

ROUNDED_CACHE = "1.31"
"""The oldest onnxruntime that is known to read a KV cache of 8 bits on the CPU."""


@dataclass(frozen=True)
class Precisions:
    """Of the language model, or of a codec alone; of the codec; of the KV cache."""

    model: Precision
    codec: Precision = "fp32"
    cache: Precision = "fp32"


@dataclass(frozen=True)
class Target:
    """One `--target`. `computes_half` says that fp16 is also what it computes in, not only what it
    stores; `splits_codec` that Mimi's convolution stacks are graphs of their own, and run on the
    provider, all other graphs on the CPU; `rounds_cache`
    that it reads a KV cache of 8 bits."""

    name: TargetName
    flavour: Flavour
    dialect: Callable[[], OpsetDialect]
    default_precision: Precision
    precisions: tuple[Precision, ...]
    minimum_onnxruntime: str
    computes_half: bool = False
    splits_codec: bool = False
    accuracy_level: int = 0
    rounds_cache: bool = False

    def style(
        self,
        precision: Precision,
        cache: Precision = "fp32",
        recipe: QuantizationRecipe | None = None,
    ) -> Style:
        """How the language model is written at a precision, its weights by another recipe if one
        is given; raises UsageError if it cannot be."""
        if cache == "int8" and not self.rounds_cache:
            raise UsageError(f"--target {self.name} keeps no KV cache in int8: leave it out")
        if precision not in self.precisions:
            raise UsageError(
                f"--target {self.name} takes no {precision}; choose among "
                f"{', '.join(self.precisions)}"
            )
        if recipe is not None and precision not in RECIPES:
            raise UsageError(f"a recipe is for {' and '.join(RECIPES)}, not for {precision}")
        half, single = torch.float16, torch.float32
        recipe = recipe or RECIPES.get(precision)
        return Style(
            self.dialect(),
            stored=single if precision == "fp32" else half,
            compute=half if self.computes_half and precision != "fp32" else single,
            blocks=None if recipe is None else recipe.blocks,
            sensitive=None if recipe is None else recipe.sensitive,
            accuracy_level=self.accuracy_level,
            rounds_cache=cache == "int8",
        )

    def default_cache(self, precision: Precision) -> Precision:
        """Precision of the KV cache: int8 if the weights have 4 bits and the target reads it."""
        return "int8" if precision == "int4" and self.rounds_cache else "fp32"

    def oldest_onnxruntime(self, precisions: Precisions) -> str:
        return ROUNDED_CACHE if precisions.cache == "int8" else self.minimum_onnxruntime

    def codec_style(self, precision: Precision) -> Style:
        """How Mimi is written: in float32, or with the weights in 8 bits of its transformers and of
        the convolutions that are products, which changes one code in six."""
        if precision not in ("fp32", "int8"):
            raise UsageError(f"a codec of {precision}: choose among fp32, int8")
        blocks = CODEC_INT8 if precision == "int8" else None
        level = self.accuracy_level
        return Style(self.dialect(), blocks=blocks, sensitive=blocks, accuracy_level=level)


ALL: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")

TARGETS: dict[TargetName, Target] = {
    target.name: target
    for target in (
        Target("cpu", "native", Native, "int8", ALL, "1.25", accuracy_level=4, rounds_cache=True),
        Target("cuda", "portable", Scattering, "fp16", ALL, "1.24", computes_half=True),
        Target("directml", "portable", Portable, "fp16", ALL, "1.24", computes_half=True),
        Target("webgpu", "portable", Portable, "fp16", ALL, "1.24", computes_half=True),
        Target(
            "coreml", "coreml", Native, "int8", ALL, "1.25", splits_codec=True, accuracy_level=4
        ),
    )
}


def target(name: str) -> Target:
    """The target of that name; raises UsageError."""
    for known in TARGETS.values():
        if known.name == name:
            return known
    raise UsageError(f"no target {name!r}; choose among {', '.join(TARGETS)}")
