"""Configurations of the published sizes, after Kyutai's own."""

Config = dict[str, object]

MIMI = "mimi-pytorch-e351c8d8@125.safetensors"

LM: Config = {
    "card": 2048,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "max_period": 100000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "existing_text_padding_id": 3,
    "depformer_multi_linear": True,
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_pos_emb": "none",
    "conditioners": {},
    "mimi_name": MIMI,
    "tokenizer_name": "tokenizer.model",
}

STT: Config = LM | {
    "model_type": "stt",
    "n_q": 32,
    "dep_q": 0,
    "delays": [0] * 33,
    "dim": 2048,
    "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
}

DEPTH: Config = LM | {
    "depformer_weights_per_step": True,
    "depformer_gating": "silu",
    "depformer_layer_scale": None,
}


def table(values: list[str], bins: int, dim: int) -> Config:
    """A lookup table among the conditioners."""
    lut = {"n_bins": bins, "dim": dim, "tokenizer": "noop", "possible_values": values}
    return {"type": "lut", "lut": lut}


DESCRIBED: Config = {
    "conditioners": {
        "description": table(["very_bad", "bad", "neutral", "good", "very_good"], 31, 16)
    },
    "fuser": {"sum": ["description"], "cross": [], "prepend": []},
}

PUBLISHED: dict[str, Config] = {
    "stt-1b-en_fr": STT
    | {
        "text_card": 8000,
        "num_layers": 16,
        "num_heads": 16,
        "context": 750,
        "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
    },
    "stt-2.6b-en": STT
    | {
        "text_card": 4000,
        "num_layers": 48,
        "num_heads": 32,
        "context": 375,
        "stt_config": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
    },
    "tts-0.75b-en-public": DEPTH
    | {
        "model_type": "tts",
        "n_q": 16,
        "dep_q": 16,
        "delays": [0, 0, *[2] * 15],
        "dim": 1024,
        "text_card": 8000,
        "text_card_out": 5,
        "num_layers": 24,
        "num_heads": 16,
        "context": 500,
        "max_period": 10000,
        "cross_attention": False,
        "demux_second_stream": True,
        "depformer_num_layers": 4,
        "depformer_dim_feedforward": 3072,
        "depformer_low_rank_embeddings": 128,
        "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
        "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
        "model_id": {"sig": "d6ef30c7", "epoch": 1000},
        "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
    },
    "tts-1.6b-en_fr": DEPTH
    | {
        "model_type": "tts",
        "n_q": 32,
        "dep_q": 32,
        "delays": [0, 0, *[2] * 31],
        "dim": 2048,
        "text_card": 8000,
        "num_layers": 16,
        "num_heads": 16,
        "context": 500,
        "max_period": 10000,
        "cross_attention": True,
        "demux_second_stream": True,
        "depformer_num_layers": 4,
        "depformer_dim_feedforward": 3072,
        "depformer_low_rank_embeddings": 128,
        "depformer_weights_per_step_schedule": [*range(8), *[8] * 8, *[9] * 8, *[10] * 8],
        "conditioners": {
            "speaker_wavs": {"type": "tensor", "tensor": {"dim": 512}},
            "cfg": table(["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"], 7, 16),
            "control": table(["ok"], 1, 2048),
        },
        "fuser": {
            "sum": ["control", "cfg"],
            "cross": ["speaker_wavs"],
            "prepend": [],
            "cross_attention_pos_emb": True,
            "cross_attention_pos_emb_scale": 1,
        },
        "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
        "model_id": {"sig": "1e68beda", "epoch": 240},
        "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
    },
    "hibiki-1b": DEPTH
    | {
        "model_type": "hibiki",
        "n_q": 16,
        "dep_q": 8,
        "delays": [0, 0, *[2] * 7, 0, *[2] * 7],
        "dim": 2048,
        "text_card": 48000,
        "num_layers": 16,
        "num_heads": 16,
        "context": 1500,
        "depformer_dim_feedforward": None,
        **DESCRIBED,
        "lm_gen_config": {"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 50},
    },
    "hibiki-2b": DEPTH
    | {
        "model_type": "hibiki",
        "n_q": 32,
        "dep_q": 16,
        "delays": [0, 0, *[2] * 15, 0, *[2] * 15],
        "dim": 2560,
        "text_card": 48000,
        "num_layers": 24,
        "num_heads": 20,
        "context": 1500,
        "depformer_num_layers": 4,
        "depformer_dim_feedforward": 3072,
        "depformer_low_rank_embeddings": 128,
        "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
        **DESCRIBED,
        "model_id": {"sig": "ccef4858", "epoch": 200},
        "lm_gen_config": {"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 50},
    },
    "hibiki-zero-3b": DEPTH
    | {
        "model_type": "hibiki",
        "n_q": 32,
        "dep_q": 16,
        "delays": [0, 0, *[2] * 15, 0, *[2] * 15],
        "dim": 2048,
        "text_card": 48000,
        "num_layers": 28,
        "num_heads": 16,
        "kv_repeat": 2,
        "hidden_scale": 6,
        "context": 3000,
        "max_period": 20000,
        "positional_embedding": "rope_concat",
        "depformer_dim_feedforward": None,
        "depformer_kv_repeat": 1,
        "depformer_norm": "layer_norm",
        "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
        "model_id": {"sig": "77f82164", "epoch": 110},
    },
    "moshi-7b": DEPTH
    | {
        "model_type": "moshi",
        "n_q": 16,
        "dep_q": 8,
        "delays": [0, 0, *[1] * 7, 0, *[1] * 7],
        "dim": 4096,
        "text_card": 32000,
        "num_layers": 32,
        "num_heads": 32,
        "context": 3000,
        "max_period": 10000,
        "depformer_dim_feedforward": 4224,
    },
}
HEADS: Config = {"extra_heads_num_heads": 4, "extra_heads_dim": 6}
PUBLISHED["stt-1b-en_fr-candle"] = PUBLISHED["stt-1b-en_fr"] | HEADS
PUBLISHED["hibiki-1b-context-3000"] = PUBLISHED["hibiki-1b"] | {"context": 3000}

TRANSFORMERS_MIMI: Config = {
    "model_type": "mimi",
    "architectures": ["MimiModel"],
    "sampling_rate": 24000,
    "audio_channels": 1,
    "frame_rate": 12.5,
    "hidden_size": 512,
    "num_filters": 64,
    "upsampling_ratios": [8, 6, 5, 4],
    "codebook_size": 2048,
    "codebook_dim": 256,
    "vector_quantization_hidden_dimension": 256,
    "num_quantizers": 32,
    "upsample_groups": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2048,
    "sliding_window": 250,
    "rope_theta": 10000.0,
}
"""kyutai/mimi, in the form of transformers."""

HIBIKI_1B_RUST: Config = {
    "moshi_name": "hibiki-rs-dc2cf5a5@80.safetensors",
    "mimi_name": "mimi-dbaa9758@125.safetensors",
    "tokenizer_name": "tokenizer_spm_48k_multi6_2.model",
    "model": {
        "text_in_vocab_size": 48001,
        "text_out_vocab_size": 48000,
        "audio_vocab_size": 2049,
        "audio_codebooks": 16,
        "transformer": {
            "d_model": 2048,
            "num_heads": 16,
            "num_layers": 16,
            "dim_feedforward": 8192,
            "context": 3000,
            "max_period": 100000,
            "gating": "silu",
            "norm": "RmsNorm",
            "positional_embedding": "Rope",
        },
        "depformer": {
            "num_slices": 8,
            "transformer": {
                "d_model": 1024,
                "num_heads": 16,
                "num_layers": 6,
                "dim_feedforward": 4096,
                "max_period": 10000,
                "gating": "silu",
                "norm": "RmsNorm",
                "positional_embedding": "None",
            },
        },
        "conditioners": {
            "description": {
                "type": "Lut",
                "n_bins": 31,
                "dim": 16,
                "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
            }
        },
    },
}
"""kyutai/hibiki-1b-rs-bf16, as its `config.toml` has it."""
