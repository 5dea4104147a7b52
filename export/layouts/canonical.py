"""Recognising a layout by its names, and the canonical view of what it holds."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from ...runtime.errors import ModelError
from ..config import LMConfig, MimiConfig
from ..tensors import Renamed, Shape, Tensors, check_tensors
from .native import native_lm, native_mimi
from .shapes import lm_shapes, mimi_shapes
from .slices import candle_lm, mlx_lm
from .transformers_format import transformers_lm, transformers_mimi

Config = TypeVar("Config")
Layout = Callable[[Tensors, Config], Renamed]

QUANTISED = {
    re.compile(r"\.(scales|biases)$"): "MLX's",
    re.compile(r"_scb$"): "bitsandbytes'",
}
"""Names that only a quantised checkpoint has, and whose form it is."""

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
    """The language model under canonical names, whichever layout `tensors` have.

    Raises:
        ModelError: quantised weights, or tensors that do not fit the configuration.
    """
    refuse_quantised(tensors)
    layout = recognise(tensors, LM_LAYOUTS) or native_lm
    return _checked(layout(tensors, config), lm_shapes(config), "the language model")


def canonical_mimi(tensors: Tensors, config: MimiConfig) -> Tensors:
    """The codec under canonical names, whichever layout `tensors` have.

    Raises:
        ModelError: quantised weights, or tensors that do not fit the configuration.
    """
    refuse_quantised(tensors)
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


def refuse_quantised(tensors: Tensors) -> None:
    """Lets plain weights pass.

    Raises:
        ModelError: the weights are quantised; names the form and one of the tensors.
    """
    for mark, whose in QUANTISED.items():
        if found := next(filter(mark.search, tensors.shapes()), None):
            raise ModelError(
                f"the weights are quantised in {whose} form ({found}), which is not read yet; "
                "export from the repository with bf16 weights"
            )
