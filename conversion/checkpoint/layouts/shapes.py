"""Names and shapes of the canonical tensors, as a configuration implies them.

They are the state of moshi's LMModel and MimiModel, less the leading ones of norm alphas.
"""

from collections.abc import Iterator

from ..config import (
    Conditioner,
    DepformerConfig,
    LMConfig,
    LutConditioner,
    MimiConfig,
    QuantizerConfig,
    SEANetConfig,
    TransformerConfig,
    gating_hidden,
)
from ..tensor_views import Shape

NamedShapes = Iterator[tuple[str, Shape]]


def lm_shapes(config: LMConfig) -> dict[str, Shape]:
    """Tensors of the language model (moshi models/lm.py LMModel)."""
    return dict(_lm(config))


def mimi_shapes(config: MimiConfig) -> dict[str, Shape]:
    """Tensors of the codec (moshi models/compression.py MimiModel)."""
    return dict(_mimi(config))


def _lm(config: LMConfig) -> NamedShapes:
    dim, vocabulary = config.dim, config.text_card + 1
    for index in range(config.n_q):
        yield from _embedding(f"emb.{index}.", config.card + 1, dim, None, config.norm_emb)
    yield from _text_embedding("text_emb.", vocabulary, dim, None, config)
    yield from _transformer("transformer.", config.transformer, 1, indexed=False)
    yield from _norm("out_norm.", config.transformer.norm, dim)
    yield from _linear("text_linear.", dim, config.text_card_out, config.bias_proj)
    for head in range(config.extra_heads_num_heads):
        yield from _linear(f"extra_heads.{head}.", dim, config.extra_heads_dim)
    if config.depformer is not None:
        yield from _depformer(config, config.depformer)
    for name, conditioner in config.conditioners.items():
        yield from _conditioner(f"condition_provider.conditioners.{name}.", conditioner, dim)


def _depformer(config: LMConfig, depth: DepformerConfig) -> NamedShapes:
    dim, rank = depth.dim, depth.low_rank_embeddings
    for index in range(depth.input_sets):
        yield from _linear(f"depformer_in.{index}.", config.dim, dim)
    for index in range(depth.codebooks - 1):
        rows = config.card + 1
        yield from _embedding(f"depformer_emb.{index}.", rows, dim, rank, config.norm_emb)
    yield from _text_embedding("depformer_text_emb.", config.text_card + 1, dim, rank, config)
    stepped = depth.weights_per_step
    yield from _transformer("depformer.", depth.transformer, depth.weight_sets, indexed=stepped)
    for index in range(depth.codebooks):
        if depth.norm is not None:
            yield from _norm(f"depformer_norms.{index}.", depth.norm, dim)
        yield from _linear(f"linears.{index}.", dim, config.card, config.bias_proj)


def _embedding(prefix: str, rows: int, dim: int, rank: int | None, norm: bool) -> NamedShapes:
    width = rank or dim
    yield f"{prefix}weight", (rows, width)
    if norm:
        yield from _norm(f"{prefix}norm.", "layer_norm", width)
    if rank is not None:
        yield from _linear(f"{prefix}low_rank.", rank, dim)


def _text_embedding(
    prefix: str, rows: int, dim: int, rank: int | None, config: LMConfig
) -> NamedShapes:
    yield from _embedding(prefix, rows, dim, rank, config.norm_emb)
    if config.demux_second_text_stream:
        for stream in ("out1", "out2"):
            yield from _linear(f"{prefix}{stream}.", rank or dim, dim)


def _conditioner(prefix: str, conditioner: Conditioner, dim: int) -> NamedShapes:
    if isinstance(conditioner, LutConditioner):
        yield f"{prefix}embed.weight", (conditioner.n_bins + 1, conditioner.dim)
    if conditioner.force_linear or conditioner.dim != dim:
        yield from _linear(f"{prefix}output_proj.", conditioner.dim, dim)
    if conditioner.learn_padding:
        yield f"{prefix}learnt_padding", (1, 1, dim)


def _linear(prefix: str, dim_in: int, dim_out: int, bias: bool = False) -> NamedShapes:
    yield f"{prefix}weight", (dim_out, dim_in)
    if bias:
        yield f"{prefix}bias", (dim_out,)


def _norm(prefix: str, norm: str, dim: int) -> NamedShapes:
    for name in ("alpha",) if norm.startswith("rms") else ("weight", "bias"):
        yield f"{prefix}{name}", (dim,)


def _transformer(prefix: str, config: TransformerConfig, sets: int, indexed: bool) -> NamedShapes:
    """`sets` of attention and feed-forward weights; `indexed` feed-forwards carry a number."""
    for index in range(config.num_layers):
        layer = f"{prefix}layers.{index}."
        yield from _attention(f"{layer}self_attn.", config, sets)
        for norm in ("norm1", "norm2"):
            yield from _norm(f"{layer}{norm}.", config.norm, config.dim)
        yield from _feedforward(layer, config, sets, indexed)
        scales = ["1", "2"]
        if config.cross_attention:
            yield from _attention(f"{layer}cross_attention.", config, 1)
            yield from _norm(f"{layer}norm_cross.", "layer_norm", config.dim)
            scales.append("cross")
        if config.layer_scale is not None:
            yield from ((f"{layer}layer_scale_{scale}.scale", (config.dim,)) for scale in scales)


def _attention(prefix: str, config: TransformerConfig, sets: int) -> NamedShapes:
    rows = (config.num_heads + 2 * config.kv_heads) * config.head_dim
    for index in range(sets):
        yield from _linear(f"{prefix}in_projs.{index}.", config.dim, rows)
        yield from _linear(f"{prefix}out_projs.{index}.", config.dim, config.dim)


def _feedforward(layer: str, config: TransformerConfig, sets: int, indexed: bool) -> NamedShapes:
    widths = config.feedforwards
    if config.gating == "none":
        yield from _linear(f"{layer}linear1.", config.dim, widths[0])
        yield from _linear(f"{layer}linear2.", widths[0], config.dim)
        return
    for index in range(sets):
        hidden = gating_hidden(config.dim, widths[index % len(widths)])
        prefix = f"{layer}gating.{index}." if indexed else f"{layer}gating."
        yield from _linear(f"{prefix}linear_in.", config.dim, 2 * hidden)
        yield from _linear(f"{prefix}linear_out.", hidden, config.dim)


def _mimi(config: MimiConfig) -> NamedShapes:
    yield from _encoder("encoder.model.", config.seanet)
    yield from _decoder("decoder.model.", config.seanet)
    for side in ("encoder", "decoder"):
        yield from _projected(f"{side}_transformer.", config)
    stride, dim = config.resample_stride, config.seanet.dimension
    if stride > 1:
        yield "downsample.conv.conv.conv.weight", (dim, dim, 2 * stride)
        yield "upsample.convtr.convtr.convtr.weight", (dim, 1, 2 * stride)
    quantizer = config.quantizer
    yield from _quantizer("quantizer.rvq_first.", quantizer, quantizer.n_q_semantic)
    rest = quantizer.n_q - quantizer.n_q_semantic
    yield from _quantizer("quantizer.rvq_rest.", quantizer, rest)


def _projected(prefix: str, config: MimiConfig) -> NamedShapes:
    dim = config.transformer.dim
    yield from _transformer(f"{prefix}transformer.", config.transformer, 1, indexed=False)
    if config.transformer_input_dimension != dim:
        yield from _linear(f"{prefix}input_proj.", config.transformer_input_dimension, dim)
    if config.transformer_output_dimension != dim:
        yield from _linear(f"{prefix}output_projs.0.", dim, config.transformer_output_dimension)


def _quantizer(prefix: str, config: QuantizerConfig, codebooks: int) -> NamedShapes:
    dim = config.dimension
    yield f"{prefix}input_proj.weight", (dim, config.input_dimension, 1)
    yield f"{prefix}output_proj.weight", (config.output_dimension, dim, 1)
    for index in range(codebooks):
        codebook = f"{prefix}vq.layers.{index}._codebook."
        yield f"{codebook}_initialized", (1,)
        yield f"{codebook}cluster_usage", (config.bins,)
        yield f"{codebook}embedding_sum", (config.bins, dim)


def _conv(prefix: str, dim_in: int, dim_out: int, kernel: int) -> NamedShapes:
    yield f"{prefix}conv.conv.weight", (dim_out, dim_in, kernel)
    yield f"{prefix}conv.conv.bias", (dim_out,)


def _conv_transpose(prefix: str, dim_in: int, dim_out: int, kernel: int) -> NamedShapes:
    yield f"{prefix}convtr.convtr.weight", (dim_in, dim_out, kernel)
    yield f"{prefix}convtr.convtr.bias", (dim_out,)


def _residual(prefix: str, dim: int, config: SEANetConfig) -> NamedShapes:
    hidden = dim // config.compress
    yield from _conv(f"{prefix}block.1.", dim, hidden, config.residual_kernel_size)
    yield from _conv(f"{prefix}block.3.", hidden, dim, 1)
    if not config.true_skip:
        yield from _conv(f"{prefix}shortcut.", dim, dim, 1)


def _encoder(prefix: str, config: SEANetConfig) -> NamedShapes:
    """Layers are numbered with the activations between them, which hold nothing."""
    width, layer = config.n_filters, 1
    yield from _conv(f"{prefix}0.", config.channels, width, config.kernel_size)
    for ratio in reversed(config.ratios):
        for _ in range(config.n_residual_layers):
            yield from _residual(f"{prefix}{layer}.", width, config)
            layer += 1
        yield from _conv(f"{prefix}{layer + 1}.", width, 2 * width, 2 * ratio)
        width, layer = 2 * width, layer + 2
    yield from _conv(f"{prefix}{layer + 1}.", width, config.dimension, config.last_kernel_size)


def _decoder(prefix: str, config: SEANetConfig) -> NamedShapes:
    width, layer = config.n_filters * 2 ** len(config.ratios), 1
    yield from _conv(f"{prefix}0.", config.dimension, width, config.kernel_size)
    for ratio in config.ratios:
        yield from _conv_transpose(f"{prefix}{layer + 1}.", width, width // 2, 2 * ratio)
        width, layer = width // 2, layer + 2
        for _ in range(config.n_residual_layers):
            yield from _residual(f"{prefix}{layer}.", width, config)
            layer += 1
    yield from _conv(f"{prefix}{layer + 1}.", width, config.channels, config.last_kernel_size)
