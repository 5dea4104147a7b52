"""Configurations of the transformers library, turned into ours.

The keys are those of transformers' MimiConfig and KyutaiSpeechToTextConfig, and what a default
here says is what theirs says: files written by that library may leave defaults out.
"""

from ....runtime.errors import ModelError
from .keys import Keys, located, require, require_equal, require_positive
from .lm import LMConfig
from .mimi import MimiConfig, QuantizerConfig, SEANetConfig
from .transformer import TransformerConfig, gating_hidden

FORMATS = ("mimi", "kyutai_speech_to_text")

RMS_NORMS = {1e-8: "rms_norm_f32"}
"""Kyutai's name of an RMS norm by its epsilon; transformers computes every one in float32."""


def read_rope_theta(keys: Keys, default: float) -> float:
    """`rope_theta`, or since version 5 the one inside `rope_parameters`."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = keys.section(name)
        kind = rope.text("rope_type", rope.text("type", "default"))
        require_equal(f"{name} rope_type", kind, "default")
        default = rope.number("rope_theta", default)
    return keys.number("rope_theta", default)


def read_heads(keys: Keys, dim: int, default: int) -> tuple[int, int]:
    """Heads, and how many of them share one head of keys and values."""
    heads = keys.integer("num_attention_heads", default)
    kv_heads = keys.optional_integer("num_key_value_heads") or heads
    require_positive(num_attention_heads=heads, num_key_value_heads=kv_heads)
    require(heads % kv_heads == 0, f"num_key_value_heads is {kv_heads} for {heads} heads")
    head_dim = keys.optional_integer("head_dim") or dim // heads
    require_equal("head_dim", head_dim, dim // heads)
    return heads, heads // kv_heads


def read_mimi(keys: Keys) -> MimiConfig:
    """MimiConfig of transformers.

    Raises:
        ModelError: a value for which the original codec has no counterpart.
    """
    _refuse_mimi_variants(keys)
    dim = keys.integer("hidden_size", 512)
    sample_rate = keys.integer("sampling_rate", 24_000)
    channels = keys.integer("audio_channels", 1)
    seanet = SEANetConfig(
        channels=channels,
        dimension=dim,
        n_filters=keys.integer("num_filters", 64),
        n_residual_layers=keys.integer("num_residual_layers", 1),
        ratios=keys.integers("upsampling_ratios", ()) or (8, 6, 5, 4),
        kernel_size=keys.integer("kernel_size", 7),
        last_kernel_size=keys.integer("last_kernel_size", 3),
        residual_kernel_size=keys.integer("residual_kernel_size", 3),
        dilation_base=keys.integer("dilation_growth_rate", 2),
        compress=keys.integer("compress", 2),
        true_skip=not keys.flag("use_conv_shortcut", False),
        pad_mode=keys.text("pad_mode", "constant"),
    )
    half_of_encoder = sample_rate / (2 * seanet.hop_length)
    return MimiConfig(
        sample_rate=sample_rate,
        channels=channels,
        frame_rate=keys.optional_number("frame_rate") or half_of_encoder,
        seanet=seanet,
        quantizer=_read_mimi_quantizer(keys, dim),
        transformer=_read_mimi_transformer(keys, dim),
        transformer_input_dimension=dim,
        transformer_output_dimension=dim,
    )


def _refuse_mimi_variants(keys: Keys) -> None:
    require_equal("use_causal_conv", keys.flag("use_causal_conv", True), True)
    require_equal("trim_right_ratio", keys.number("trim_right_ratio", 1.0), 1.0)
    require_equal("hidden_act", keys.text("hidden_act", "gelu"), "gelu")
    require_equal("attention_bias", keys.flag("attention_bias", False), False)
    require_equal("norm_eps", keys.number("norm_eps", 1e-5), 1e-5)
    groups, dim = keys.integer("upsample_groups", 512), keys.integer("hidden_size", 512)
    require_equal("upsample_groups", groups, dim)


def _read_mimi_quantizer(keys: Keys, dim: int) -> QuantizerConfig:
    dimension = keys.integer("codebook_dim", 256)
    projected = keys.integer("vector_quantization_hidden_dimension", 256)
    require_equal("vector_quantization_hidden_dimension", projected, dimension)
    require(projected != dim, f"codebook_dim is hidden_size, {dim}; that leaves no projections")
    return QuantizerConfig(
        dimension=dimension,
        n_q=keys.integer("num_quantizers", 32),
        n_q_semantic=keys.integer("num_semantic_quantizers", 1),
        bins=keys.integer("codebook_size", 2048),
        input_dimension=dim,
        output_dimension=dim,
    )


def _read_mimi_transformer(keys: Keys, dim: int) -> TransformerConfig:
    heads, kv_repeat = read_heads(keys, dim, 8)
    return TransformerConfig(
        dim=dim,
        num_heads=heads,
        num_layers=keys.integer("num_hidden_layers", 8),
        dim_feedforward=keys.integer("intermediate_size", 2048),
        context=keys.integer("sliding_window", 250),
        max_period=read_rope_theta(keys, 10_000),
        positional_embedding="rope",
        norm="layer_norm",
        gating="none",
        layer_scale=keys.number("layer_scale_initial_scale", 0.01),
        kv_repeat=kv_repeat,
    )


def read_speech_to_text(keys: Keys) -> tuple[LMConfig, MimiConfig]:
    """KyutaiSpeechToTextConfig of transformers, and the codec that it contains.

    Raises:
        ModelError: a value for which the original model has no counterpart.
    """
    with located("codec_config"):
        mimi = read_mimi(keys.section("codec_config"))
    transformer = _read_lm_transformer(keys)
    n_q = keys.integer("num_codebooks", 32)
    text_card = keys.integer("vocab_size", 4001) - 1
    lm = LMConfig(
        delays=(0,) * (n_q + 1),
        n_q=n_q,
        dep_q=0,
        card=keys.integer("codebook_vocab_size", 2049) - 1,
        text_card=text_card,
        text_card_out=text_card,
        dim=transformer.dim,
        norm_emb=False,
        bias_proj=False,
        existing_text_padding_id=keys.integer("pad_token_id", 3),
        existing_text_end_padding_id=0,
        extra_heads_num_heads=0,
        extra_heads_dim=6,
        demux_second_text_stream=False,
        transformer=transformer,
        depformer=None,
    )
    return lm, mimi


def _read_lm_transformer(keys: Keys) -> TransformerConfig:
    epsilon = keys.number("rms_norm_eps", 1e-8)
    require(epsilon in RMS_NORMS, f"rms_norm_eps is {epsilon}; only 1e-08 can be exported")
    dim = keys.integer("hidden_size", 2048)
    heads, kv_repeat = read_heads(keys, dim, 32)
    hidden = keys.integer("ffn_dim", 11264) // 2
    return TransformerConfig(
        dim=dim,
        num_heads=heads,
        num_layers=keys.integer("num_hidden_layers", 48),
        dim_feedforward=feedforward_of(hidden, dim),
        context=keys.integer("sliding_window", 375),
        max_period=read_rope_theta(keys, 100_000),
        positional_embedding="rope",
        norm=RMS_NORMS[epsilon],
        gating=keys.text("hidden_act", "silu"),
        layer_scale=None,
        kv_repeat=kv_repeat,
    )


def feedforward_of(hidden: int, dim: int) -> int:
    """The `dim_feedforward` whose gated block is `hidden` wide (inverse of `gating_hidden`)."""
    least = 3 * hidden // 2
    for candidate in (4 * dim, least, least + 1, least + 2):
        if gating_hidden(dim, candidate) == hidden:
            return candidate
    raise ModelError(f"ffn_dim is {2 * hidden}, which no gated block on {dim} values has")
