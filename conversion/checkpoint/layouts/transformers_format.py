"""The transformers library's layouts of Mimi and of Kyutai's speech-to-text.

Each canonical tensor is traced forward through the rules of the library's own converters
(convert_mimi_checkpoint_to_pytorch.py, convert_kyutai_speech_to_text_to_hf.py). These split
attention into queries, keys and values, and reorder the rows of the first two so that the pairs
that rope turns lie half a head apart; here the pairs come back together.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from ....runtime.errors import ModelError
from ....runtime.typing import Array
from ..config import LMConfig, MimiConfig, TransformerConfig
from ..tensor_views import Piece, Renamed, TensorAssembly, Tensors, renamed, whole
from .shapes import lm_shapes, mimi_shapes

MIMI_RULES = (
    ("conv.conv.conv", "conv"),
    ("convtr.convtr.convtr", "conv"),
    ("conv.conv", "conv"),
    ("convtr.convtr", "conv"),
    ("quantizer.rvq_first.vq", "quantizer.semantic_residual_vector_quantizer"),
    ("quantizer.rvq_first", "quantizer.semantic_residual_vector_quantizer"),
    ("quantizer.rvq_rest.vq", "quantizer.acoustic_residual_vector_quantizer"),
    ("quantizer.rvq_rest", "quantizer.acoustic_residual_vector_quantizer"),
    ("_codebook", "codebook"),
    ("_initialized", "initialized"),
    ("embedding_sum", "embed_sum"),
    ("encoder.model", "encoder.layers"),
    ("decoder.model", "decoder.layers"),
    ("encoder_transformer.transformer", "encoder_transformer"),
    ("decoder_transformer.transformer", "decoder_transformer"),
    ("linear1", "mlp.fc1"),
    ("linear2", "mlp.fc2"),
    ("self_attn.out_projs.0", "self_attn.o_proj"),
    ("norm1", "input_layernorm"),
    ("norm2", "post_attention_layernorm"),
    ("layer_scale_1", "self_attn_layer_scale"),
    ("layer_scale_2", "mlp_layer_scale"),
)
"""Replacements in the order in which the converter makes them."""

LM_RULES = (
    ("transformer.", "model."),
    ("out_norm", "model.norm"),
    ("gating.linear_in", "mlp.fc1"),
    ("gating.linear_out", "mlp.fc2"),
    ("self_attn.out_projs.0", "self_attn.o_proj.linear"),
    ("norm1", "input_layernorm"),
    ("norm2", "post_attention_layernorm"),
    ("alpha", "weight"),
)

CODEC_PREFIX = "codec_model."
TABLE = "model.embed_tokens.embed_tokens.weight"
HEAD = "lm_head.weight"
IN_PROJ = "in_projs.0.weight"


def transformers_mimi(tensors: Tensors, config: MimiConfig) -> Renamed:
    """The codec, by itself or inside a speech-to-text model (`codec_model.`)."""
    inside = any(name.startswith(CODEC_PREFIX) for name in tensors.shapes())
    prefix = CODEC_PREFIX if inside else ""
    codec = renamed(tensors, lambda name: name.removeprefix(prefix) if prefix in name else None)
    assemblies = _traced(
        codec, mimi_shapes(config), MIMI_RULES, "{}_proj.weight", config.transformer
    )
    return Renamed(codec, assemblies)


def transformers_lm(tensors: Tensors, config: LMConfig) -> Renamed:
    """The language model of a speech-to-text repository.

    Raises:
        ModelError: the table of embeddings does not have the rows that the configuration says.
    """
    lm = renamed(tensors, lambda name: None if name.startswith(CODEC_PREFIX) else name)
    tables = dict(_tables(lm, config))
    others = {name: shape for name, shape in lm_shapes(config).items() if name not in tables}
    traced = _traced(lm, others, LM_RULES, "{}_proj.linear.weight", config.transformer)
    for name in (TABLE, HEAD):
        traced.pop(name, None)
    return Renamed(lm, traced | tables)


def _tables(lm: Tensors, config: LMConfig) -> Iterator[tuple[str, TensorAssembly]]:
    """One table holds the text's embeddings, then each codebook's, then a row of zeros for
    padding; the head that makes text has a row of zeros at its end too."""
    heights = {"text_emb.weight": config.text_card + 1}
    heights |= {f"emb.{index}.weight": config.card + 1 for index in range(config.n_q)}
    yield from _rows(lm, TABLE, heights)
    yield from _rows(lm, HEAD, {"text_linear.weight": config.text_card_out})


def _rows(
    lm: Tensors, name: str, heights: Mapping[str, int]
) -> Iterator[tuple[str, TensorAssembly]]:
    rows, *rest = lm.shapes().get(name, (0,))
    expected = sum(heights.values()) + 1
    if rows != expected:
        raise ModelError(f"{name} has {rows} rows; its configuration makes that {expected}")
    start = 0
    for target, height in heights.items():
        yield target, TensorAssembly((Piece(name, slice(start, start + height)),), (height, *rest))
        start += height


def _traced(
    source: Tensors,
    canonical: Mapping[str, tuple[int, ...]],
    rules: Sequence[tuple[str, str]],
    projection: str,
    config: TransformerConfig,
) -> dict[str, TensorAssembly]:
    """The assemblies of all canonical tensors of a set; any other tensor keeps its name."""
    assemblies: dict[str, TensorAssembly] = {}
    for name in canonical:
        assembly = _assembly(source, name, rules, projection, config)
        if assembly is not None:
            assemblies[name] = assembly
    used = {piece.name for assembly in assemblies.values() for piece in assembly.pieces}
    spare = (name for name in source.shapes() if name not in used)
    return assemblies | {name: whole(source, name) for name in spare}


def _assembly(
    source: Tensors,
    name: str,
    rules: Sequence[tuple[str, str]],
    projection: str,
    config: TransformerConfig,
) -> TensorAssembly | None:
    shapes = source.shapes()
    for old, new in rules:
        name = name.replace(old, new)
    if not name.endswith(IN_PROJ):
        return whole(source, name) if name in shapes else None
    prefix = name.removesuffix(IN_PROJ)
    parts = [prefix + projection.format(part) for part in "qkv"]
    if any(part not in shapes for part in parts):
        return None
    rows = sum(shapes[part][0] for part in parts)
    build = partial(_joined_attention, config)
    return TensorAssembly(tuple(map(Piece, parts)), (rows, *shapes[parts[0]][1:]), build)


def _joined_attention(config: TransformerConfig, parts: Sequence[Array]) -> Array:
    q, k, v = parts
    return np.concatenate([interleaved(q, config.num_heads), interleaved(k, config.kv_heads), v])


def interleaved(weight: Array, heads: int) -> Array:
    """Rows `r0 r1 .. i0 i1 ..` of each head as `r0 i0 r1 i1 ..`, of `weight` `[heads * D, in]`."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)
