"""MLX's and candle's layouts, which spell the depth transformer out for every codebook.

Their converters (scripts/import_mlx.py, import_rust.py) copy a weight set to each codebook that
shares it; here the first copy is taken.
"""

import re
from collections.abc import Callable

from ..config import DepformerConfig, LMConfig
from ..tensor_views import Renamed, Tensors, renamed
from .moshi_pytorch import native_lm

SLICE = re.compile(r"depformer\.(\d+)\.(.+)$")
LAYER = re.compile(r"transformer\.layers\.(\d+)\.(.+)$")
ATTENTION = re.compile(r"self_attn\.(in|out)_proj(?:_weight|\.weight)$")
NORM = re.compile(r"(transformer\.layers\.\d+\.norm[12]|^out_norm)\.weight$")


def mlx_lm(tensors: Tensors, config: LMConfig) -> Renamed:
    """MLX names a few things otherwise; past that the layout is candle's."""
    rms = config.transformer.norm.startswith("rms")

    def candle_name(name: str) -> str:
        name = re.sub(r"^audio_embs\.", "emb.", name)
        name = re.sub(r"^depformer\.slices\.", "depformer.", name)
        return NORM.sub(r"\1.alpha", name) if rms else name

    return candle_lm(renamed(tensors, candle_name), config)


def candle_lm(tensors: Tensors, config: LMConfig) -> Renamed:
    depth = config.depformer

    def native_name(name: str) -> str | None:
        found = SLICE.match(name)
        if depth is None or found is None or int(found[1]) >= depth.codebooks:
            return name
        return _slice_name(name, int(found[1]), found[2], depth)

    return native_lm(renamed(tensors, native_name), config)


def _slice_name(name: str, codebook: int, part: str, depth: DepformerConfig) -> str | None:
    """The native name of one codebook's `part`; None for a copy, `name` itself if unknown."""
    if part.startswith("emb."):
        table = f"depformer_emb.{codebook - 1}" if codebook else "depformer_text_emb"
        return f"{table}.{part.removeprefix('emb.')}"
    if part.startswith("linear_out."):
        return f"linears.{codebook}.{part.removeprefix('linear_out.')}"
    if part == "linear_in.weight":
        first = _is_first(codebook, depth.input_set)
        return f"depformer_in.{depth.input_set(codebook)}.weight" if first else None
    if layer := LAYER.match(part):
        return _layer_name(name, codebook, layer, depth)
    return name


def _layer_name(
    name: str, codebook: int, layer: re.Match[str], depth: DepformerConfig
) -> str | None:
    prefix, part, index = f"depformer.layers.{layer[1]}", layer[2], depth.weight_set(codebook)
    if part.startswith("norm"):
        return f"{prefix}.{part}" if codebook == 0 else None
    if attention := ATTENTION.match(part):
        native = f"{prefix}.self_attn.{attention[1]}_projs.{index}.weight"
    elif part.startswith("gating.") and depth.weights_per_step:
        native = f"{prefix}.gating.{index}.{part.removeprefix('gating.')}"
    elif part.startswith("gating."):
        native = f"{prefix}.{part}"
    else:
        return name
    return native if _is_first(codebook, depth.weight_set) else None


def _is_first(codebook: int, set_of: Callable[[int], int]) -> bool:
    """Whether no earlier codebook shares its set."""
    return all(set_of(earlier) != set_of(codebook) for earlier in range(codebook))
