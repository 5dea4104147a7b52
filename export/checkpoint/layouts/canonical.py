"""Recognising a layout by its names, and the canonical view of what it holds."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..config import LMConfig, MimiConfig
from ..tensors import Renamed, Shape, Tensors, check_tensors
from .native import native_lm, native_mimi
from .quantised import dequantised
from .shapes import lm_shapes, mimi_shapes
from .slices import candle_lm, mlx_lm
from .transformers_format import transformers_lm, transformers_mimi
from .widths import with_widths

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


def canonical_lm(tensors: Tensors, config: LMConfig) -> Tensors:
    """The language model under canonical names, whichever layout `tensors` have, quantised or not.

    Its feed-forwards may be of other widths than the configuration says: see `with_widths`.

    Raises:
        ModelError: damaged weights, or tensors that do not fit the configuration.
    """
    layout = recognise(tensors, LM_LAYOUTS) or native_lm
    view = layout(dequantised(tensors, config.dim), config)
    return _checked(view, lm_shapes(with_widths(config, view)), "the language model")


def canonical_mimi(tensors: Tensors, config: MimiConfig) -> Tensors:
    """The codec under canonical names, whichever layout `tensors` have.

    Raises:
        ModelError: tensors that do not fit the configuration.
    """
    layout = recognise(tensors, MIMI_LAYOUTS) or native_mimi
    return _checked(layout(tensors, config), mimi_shapes(config), "the codec")


def _checked(view: Renamed, expected: Mapping[str, Shape], what: str) -> Renamed:
    check_tensors(expected, view, what)
    return view


def recognise(
    tensors: Tensors, layouts: Mapping[re.Pattern[str], Layout[Config]]
) -> Layout[Config] | None:
    """The first layout that one of the names gives away."""
    names = tensors.shapes()
    for mark, layout in layouts.items():
        if any(map(mark.match, names)):
            return layout
    return None
