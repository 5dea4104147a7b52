"""The configurations that are compared: together they take every branch the reference has."""

from support.checkpoints import Json
from support.parity.families import FAMILIES, PERSONAPLEX

MIMI: Json = {
    "sample_rate": 24000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": 32,
        "causal": True,
        "n_filters": 4,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "quantizer": {
        "dimension": 16,
        "n_q": 8,
        "bins": 256,
        "input_dimension": 32,
        "output_dimension": 32,
    },
    "transformer": {
        "d_model": 32,
        "num_heads": 2,
        "num_layers": 2,
        "causal": True,
        "layer_scale": 0.01,
        "context": 20,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 64,
        "input_dimension": 32,
        "output_dimensions": [32],
    },
}
"""Mimi itself, narrower and with a shorter memory: its ring wraps every ten frames."""

ODD_MIMI: Json = {
    "sample_rate": 2400,
    "channels": 1,
    "frame_rate": 100,
    "seanet": {
        **MIMI["seanet"],  # type: ignore[dict-item]
        "dimension": 24,
        "n_residual_layers": 2,
        "compress": 1,
        "kernel_size": 5,
        "residual_kernel_size": 5,
        "last_kernel_size": 5,
        "ratios": [3, 2],
        "true_skip": False,
        "activation_params": {"alpha": 0.7},
    },
    "quantizer": {
        "dimension": 12,
        "n_q": 5,
        "n_q_semantic": 2,
        "bins": 400,
        "input_dimension": 24,
        "output_dimension": 24,
    },
    "transformer": {
        **MIMI["transformer"],  # type: ignore[dict-item]
        "d_model": 48,
        "num_heads": 4,
        "kv_repeat": 2,
        "context": 14,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope_concat",
        "dim_feedforward": 96,
        "input_dimension": 24,
        "output_dimensions": [24],
    },
}
"""All that Mimi's configuration could say otherwise: four latents a frame, projections around the
transformers, two semantic codebooks, dilations, a convolution as shortcut."""

SAME_RATE_MIMI: Json = {
    **MIMI,
    "sample_rate": 800,
    "frame_rate": 100,
    "seanet": {**MIMI["seanet"], "ratios": [4, 2]},  # type: ignore[dict-item]
}
"""The encoder's rate is the frame rate: nothing to resample."""

WIDE_MIMI: Json = {**MIMI, "quantizer": {**MIMI["quantizer"], "bins": 400}}  # type: ignore[dict-item]
"""Codebooks as wide as the vocabulary of the models that make codes."""

LIGHT_MIMI: Json = {
    **SAME_RATE_MIMI,
    "sample_rate": 100,
    "frame_rate": 12.5,
    "quantizer": WIDE_MIMI["quantizer"],
    "transformer": {**MIMI["transformer"], "num_layers": 1},  # type: ignore[dict-item]
}
"""For models that are looked at without their codec."""

PUBLISHED_CODES: Json = {**MIMI, "quantizer": {**MIMI["quantizer"], "bins": 2048}}  # type: ignore[dict-item]
"""As many codes as Kyutai's own codec has."""

MIMIS: dict[str, Json] = {
    "mimi": MIMI,
    "odd": ODD_MIMI,
    "same-rate": SAME_RATE_MIMI,
    "wide": WIDE_MIMI,
    "light": LIGHT_MIMI,
    "published-codes": PUBLISHED_CODES,
}

LM: Json = {
    "model_type": "stt",
    "card": 256,
    "n_q": 8,
    "dep_q": 0,
    "delays": [0] * 9,
    "dim": 64,
    "text_card": 300,
    "existing_text_padding_id": 3,
    "num_heads": 4,
    "num_layers": 3,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 25,
    "max_period": 100000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_multi_linear": True,
    "depformer_dim": 64,
    "depformer_num_heads": 4,
    "depformer_num_layers": 0,
    "depformer_pos_emb": "none",
    "extra_heads_num_heads": 4,
    "extra_heads_dim": 6,
    "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 1.0},
    "lm_gen_config": {"temp": 0.0, "temp_text": 0.0},
}
"""Kyutai's STT, smaller."""

LMS: dict[str, Json] = {
    **FAMILIES,
    "personaplex": PERSONAPLEX,
    "stt": LM,
    "grouped": {
        **LM,
        "positional_embedding": "rope_concat",
        "kv_repeat": 2,
        "norm": "layer_norm",
        "hidden_scale": 4,
        "gating": "gelu",
        "layer_scale": 0.1,
        "extra_heads_num_heads": 0,
        "bias_proj": True,
        "norm_emb": True,
        "context": 11,
    },
    "sinusoidal": {
        **LM,
        "positional_embedding": "sin",
        "gating": "none",
        "norm": "layer_norm_f32",
        "text_card_out": 200,
        "delays": [0, 0, 1, 1, 2, 2, 2, 2, 2],
    },
    "both": {
        **LM,
        "positional_embedding": "sin_rope",
        "norm": "rms_norm",
        "gating": "mish",
        "hidden_scale": 3,
    },
    "plain": {**LM, "positional_embedding": "none", "gating": "tanh", "kv_repeat": 4},
    "one-layer": {**LM, "num_layers": 1},
    "five-codebooks": {**LM, "num_layers": 1, "n_q": 5, "delays": [0] * 6, "card": 400},
}
