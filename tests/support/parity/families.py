"""Models with a depth transformer: what Kyutai publishes, smaller, and one that is like none."""

from support.checkpoints import Json

BASE: Json = {
    "model_type": "moshi",
    "card": 400,
    "n_q": 8,
    "dep_q": 4,
    "delays": [0, 0, 1, 1, 1, 0, 1, 1, 1],
    "dim": 64,
    "text_card": 300,
    "existing_text_padding_id": 3,
    "num_heads": 4,
    "num_layers": 2,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 24,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 48,
    "depformer_dim_feedforward": 198,
    "depformer_num_heads": 4,
    "depformer_num_layers": 2,
    "depformer_multi_linear": True,
    "depformer_weights_per_step": True,
    "depformer_pos_emb": "none",
    "lm_gen_config": {"temp": 0.8, "temp_text": 0.7, "top_k": 50, "top_k_text": 25},
}


def table(values: list[str], bins: int, dim: int) -> Json:
    lut = {"n_bins": bins, "dim": dim, "tokenizer": "noop", "possible_values": values}
    return {"type": "lut", "lut": lut}


MOSHI: Json = {
    **BASE,
    "depformer_layer_scale": None,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
}
"""Every codebook with weights of its own."""

HIBIKI: Json = {
    **BASE,
    "model_type": "hibiki",
    "delays": [0, 0, 2, 2, 2, 0, 2, 2, 2],
    "max_period": 100000,
    "depformer_dim_feedforward": None,
    "conditioners": {
        "description": table(["very_bad", "bad", "neutral", "good", "very_good"], 31, 16)
    },
    "fuser": {"sum": ["description"], "cross": [], "prepend": []},
}
"""Hibiki 1B: guided by a description."""

HIBIKI_ZERO: Json = {
    **HIBIKI,
    "positional_embedding": "rope_concat",
    "max_period": 20000,
    "kv_repeat": 2,
    "depformer_kv_repeat": 1,
    "hidden_scale": 6,
    "depformer_norm": "layer_norm",
    "depformer_weights_per_step_schedule": [0, 1, 2, 2],
    "conditioners": {},
    "fuser": None,
    "text_card_out": None,
}
"""Hibiki Zero 3B: halves rotated, keys shared by heads, norms before the logits."""

SPEAKING: Json = {
    **BASE,
    "model_type": "tts",
    "dep_q": 8,
    "num_layers": 3,
    "delays": [0, 0, 2, 2, 2, 2, 2, 2, 2],
    "demux_second_stream": True,
    "depformer_weights_per_step_schedule": [0, 1, 2, 3, 4, 4, 4, 4],
    "depformer_low_rank_embeddings": 16,
    "depformer_dim_feedforward": 144,
    "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
}

TTS: Json = {
    **SPEAKING,
    "cross_attention": True,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": 12}},
        "cfg": table([f"{value / 2:.1f}" for value in range(2, 9)], 7, 16),
        "control": table(["ok"], 1, 64),
    },
    "fuser": {
        "sum": ["control", "cfg"],
        "cross": ["speaker_wavs"],
        "prepend": [],
        "cross_attention_pos_emb": True,
        "cross_attention_pos_emb_scale": 1,
    },
    "tts_config": {"audio_delay": 0.64, "second_stream_ahead": 2, "max_speakers": 2},
    "model_id": {"sig": "1e68beda", "epoch": 240},
}
"""TTS 1.6B: voices by cross-attention, guidance by table, a second text stream."""

TTS_PREFIX: Json = {
    **SPEAKING,
    "text_card_out": 5,
    "conditioners": {},
    "fuser": None,
    "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
    "model_id": {"sig": "d6ef30c7", "epoch": 1000},
}
"""TTS 0.75B: voices by what was said before, true guidance."""

ODD: Json = {
    **BASE,
    "n_q": 6,
    "dep_q": 5,
    "delays": [1, 0, 1, 2, 3, 0, 1],
    "norm": "rms_norm",
    "norm_emb": True,
    "bias_proj": True,
    "layer_scale": 0.1,
    "gating": "gelu",
    "positional_embedding": "sin_rope",
    "extra_heads_num_heads": 2,
    "extra_heads_dim": 3,
    "cross_attention": True,
    "depformer_pos_emb": "sin",
    "depformer_norm": "rms_norm",
    "depformer_multi_linear": False,
    "depformer_weights_per_step_schedule": [0, 1, 1, 2, 0],
    "depformer_dim_feedforward": [96, 144, 192],
    "depformer_low_rank_embeddings": 8,
    "depformer_layer_scale": 0.2,
    "depformer_gating": "tanh",
    "depformer_kv_repeat": 4,
    "depformer_max_period": 500,
    "conditioners": {
        "mood": {"type": "lut", "lut": {"n_bins": 9, "dim": 10, "tokenizer": "noop"}},
        "first": {"type": "tensor", "tensor": {"dim": 6, "learn_padding": False}},
        "second": {"type": "tensor", "tensor": {"dim": 64, "force_linear": False}},
    },
    "fuser": {
        "sum": ["mood"],
        "cross": ["second", "first"],
        "cross_attention_pos_emb": True,
        "cross_attention_pos_emb_scale": 0.5,
    },
    "tts_config": {"max_speakers": 1},
}
"""All that the configuration could say otherwise: a delayed text, one projection for all codebooks,
weight sets of several widths that come back, a place for each codebook, a table by hashes, voices
one after the other, the second as it comes."""

ONE_SET: Json = {
    **BASE,
    "n_q": 3,
    "dep_q": 3,
    "delays": [0, 0, 0, 0],
    "depformer_pos_emb": "rope",
    "depformer_norm": "rms_norm_f32",
    "depformer_weights_per_step_schedule": [0, 0, 0],
}
"""One weight set for all codebooks, rotated by their place; nothing is received."""

PERSONAPLEX: Json = {
    **MOSHI,
    "card": 2048,
    "n_q": 16,
    "dep_q": 16,
    "delays": [0, *[0, 1, 1, 1, 1, 1, 1, 1] * 2],
    "context": 90,
}
"""Its depth transformer models both sides."""

FAMILIES: dict[str, Json] = {
    "moshi": MOSHI,
    "hibiki": HIBIKI,
    "hibiki-zero": HIBIKI_ZERO,
    "tts": TTS,
    "tts-prefix": TTS_PREFIX,
    "odd-depth": ODD,
    "one-set": ONE_SET,
}
