"""The tensors of a checkpoint under canonical names, whichever layout it has."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from ..config import LMConfig, MimiConfig, TransformerConfig, gating_hidden
from ..tensor_views import Renamed, Shape, Tensors, check_tensors
from .mlx_and_candle import candle_lm, mlx_lm
from .moshi_pytorch import native_lm, native_mimi
from .quantized import dequantized
from .shapes import lm_shapes, mimi_shapes
from .transformers_format import transformers_lm, transformers_mimi

Config = TypeVar("Config")
Layout = Callable[[Tensors, Config], Renamed]

LM_LAYOUTS: Mapping[re.Pattern[str], Layout[LMConfig]] = {
    re.compile(r"(lm_head|model\.embed_tokens)\."): transformers_lm,
    re.compile(r"(audio_embs|depformer\.slices)\."): mlx_lm,
    re.compile(r"depformer\.\d+\."): candle_lm,
}
"""Names that only one layout has; a checkpoint with none of them is native."""

MIMI_LAYOUTS: Mapping[re.Pattern[str], Layout[MimiConfig]] = {
    re.compile(r"(codec_model\.)?(en|de)coder\.layers\."): transformers_mimi
}

GATE = "layers.0.gating.{}linear_in.weight"


def canonical_lm(tensors: Tensors, config: LMConfig) -> Tensors:
    """The language model under canonical names, whichever layout `tensors` have, quantised or not.

    Its feed-forwards may be of other widths than the configuration says: see `with_widths`.

    Raises:
        ModelError: damaged weights, or tensors that do not fit the configuration.
    """
    layout = detect_layout(tensors, LM_LAYOUTS) or native_lm
    view = layout(dequantized(tensors, config.dim), config)
    return _checked(view, lm_shapes(with_widths(config, view)), "the language model")


def canonical_mimi(tensors: Tensors, config: MimiConfig) -> Tensors:
    """The codec under canonical names, whichever layout `tensors` have.

    Raises:
        ModelError: tensors that do not fit the configuration.
    """
    layout = detect_layout(tensors, MIMI_LAYOUTS) or native_mimi
    return _checked(layout(tensors, config), mimi_shapes(config), "the codec")


def _checked(view: Renamed, expected: Mapping[str, Shape], what: str) -> Renamed:
    check_tensors(expected, view, what)
    return view


def detect_layout(
    tensors: Tensors, layouts: Mapping[re.Pattern[str], Layout[Config]]
) -> Layout[Config] | None:
    """The first layout that one of the names gives away."""
    names = tensors.shapes()
    for mark, layout in layouts.items():
        if any(map(mark.match, names)):
            return layout
    return None


def with_widths(config: LMConfig, tensors: Tensors) -> LMConfig:
    """Take the widths of gated feed-forwards from the canonical tensors of the first layers.

    Kyutai's readers derive them from the configuration by different rules (moshi modules/gating.py;
    11/4 of the model's width in MLX and Rust).
    """
    transformer = _with_widths(config.transformer, tensors, "transformer.", 1, indexed=False)
    depth = config.depformer
    if depth is not None:
        sets, indexed = depth.weight_sets, depth.weights_per_step
        inner = _with_widths(depth.transformer, tensors, "depformer.", sets, indexed)
        depth = depth if inner == depth.transformer else replace(depth, transformer=inner)
    return replace(config, transformer=transformer, depformer=depth)


def _with_widths(
    config: TransformerConfig, tensors: Tensors, prefix: str, sets: int, indexed: bool
) -> TransformerConfig:
    shapes = tensors.shapes()
    names = [prefix + GATE.format(f"{index}." if indexed else "") for index in range(sets)]
    if any(len(shapes.get(name, ())) != 2 for name in names):
        return config
    found = tuple(shapes[name][0] // 2 for name in names)
    given = config.feedforwards
    if found == tuple(gating_hidden(config.dim, given[i % len(given)]) for i in range(sets)):
        return config
    widths = tuple(_feedforward(config.dim, hidden) for hidden in found)
    return replace(config, dim_feedforward=widths[0] if len(set(widths)) == 1 else widths)


def _feedforward(dim: int, hidden: int) -> int:
    """The `dim_feedforward` that makes a gating `hidden` wide."""
    first = (3 * hidden + 1) // 2
    fitting = (width for width in (first, first + 1) if gating_hidden(dim, width) == hidden)
    return next(fitting, 4 * dim)
