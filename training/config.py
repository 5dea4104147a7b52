"""What the demo models are: sizes, rates and the JSON that describes them in Kyutai's layout."""

SAMPLE_RATE = 24_000
FRAME_RATE = 12.5
FRAME_SIZE = 1_920
CODEBOOKS = 8
BINS = 256
TEXT_CARD = 384

INITIAL_TOKENS = [TEXT_CARD, *[BINS] * CODEBOOKS]
TEXT_END_PADDING = 0
TEXT_PAD = 3
AUDIO_DELAY = 0.5
VAD_HORIZONS = (0.5, 1.0, 2.0, 3.0)
VAD_CLASSES = 6

PHONE_RATE = 50
PHONES_PER_FRAME = 4

MIMI = {
    "sample_rate": SAMPLE_RATE,
    "channels": 1,
    "frame_rate": FRAME_RATE,
    "seanet": {
        "channels": 1,
        "dimension": 128,
        "causal": True,
        "n_filters": 12,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "quantizer": {
        "dimension": 64,
        "n_q": CODEBOOKS,
        "bins": BINS,
        "input_dimension": 128,
        "output_dimension": 128,
    },
    "transformer": {
        "d_model": 128,
        "num_heads": 4,
        "num_layers": 2,
        "causal": True,
        "layer_scale": 0.01,
        "context": 64,
        "conv_layout": True,
        "max_period": 10_000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 256,
        "input_dimension": 128,
        "output_dimensions": [128],
    },
}

LM = {
    "card": BINS,
    "n_q": CODEBOOKS,
    "dep_q": 0,
    "delays": [0] * (CODEBOOKS + 1),
    "dim": 192,
    "text_card": TEXT_CARD,
    "existing_text_padding_id": TEXT_PAD,
    "num_heads": 6,
    "num_layers": 5,
    "hidden_scale": 4.5,
    "causal": True,
    "layer_scale": None,
    "context": 125,
    "max_period": 100_000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 192,
    "depformer_num_heads": 6,
    "depformer_num_layers": 0,
    "depformer_multi_linear": True,
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": False,
    "conditioners": {},
    "fuser": None,
    "extra_heads_num_heads": len(VAD_HORIZONS),
    "extra_heads_dim": VAD_CLASSES,
}
