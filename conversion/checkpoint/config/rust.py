"""`config.toml` of Kyutai's `-rs-` repositories, said in the words of `config.json`.

The Rust program that reads it (hibiki-rs src/gen.rs, moshi-core lm.rs) translates speech and has
the rest built in: delays, temperatures, the tokens of silence.
"""

from collections.abc import Mapping

from .keys import Keys, located, require_equal, require_few, require_one_of, require_positive

ACOUSTIC_DELAY = 2
"""Frames by which all codebooks but the first of each stream come later (hibiki-rs src/gen.rs)."""

SAMPLING = {"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 25}
"""What hibiki-rs src/gen.rs samples with."""

RUST_NORMS = {"RmsNorm": "rms_norm_f32", "LayerNorm": "layer_norm"}
POSITIONS = {"Rope": "rope", "Sin": "sin", "None": "none"}

ONLY: Mapping[str, bool] = {
    "norm_first": True,
    "bias_ff": False,
    "bias_attn": False,
    "use_conv_block": False,
    "shared_cross_attn": False,
    "conv_layout": False,
    "causal": True,
}
"""Settings that change what is computed, and the one value that released models have."""


def from_rust(values: Mapping[str, object]) -> dict[str, object]:
    """The same configuration as `config.json` has it.

    Raises:
        ModelError: a key is missing, or has a value that no release has.
    """
    keys = Keys(values)
    names = {name: keys.text(name) for name in ("moshi_name", "mimi_name", "tokenizer_name")}
    with located("model"):
        model = _model(keys.section("model"))
    return {**names, "model_type": "hibiki", "lm_gen_config": SAMPLING, **model}


def _model(keys: Keys) -> dict[str, object]:
    streams = keys.integer("audio_codebooks")
    depformer = keys.section("depformer")
    own = depformer.integer("num_slices")
    require_few(num_slices=own, audio_codebooks=streams)
    conditioners = _read_conditioners(keys.section("conditioners"))
    heads = keys.section("extra_heads")
    return {
        "card": keys.integer("audio_vocab_size") - 1,
        "text_card": keys.integer("text_in_vocab_size") - 1,
        "text_card_out": keys.integer("text_out_vocab_size"),
        "n_q": streams,
        "dep_q": own,
        "delays": [0, *_delays(own), *_delays(streams - own)],
        "conditioners": conditioners,
        "fuser": {"sum": list(conditioners)} if conditioners else None,
        "extra_heads_num_heads": heads.integer("num_heads", 0),
        "extra_heads_dim": heads.integer("dim", 6),
        **_temporal(keys.section("transformer")),
        **_depth(depformer, keys.section("transformer").peek("norm")),
    }


def _delays(codebooks: int) -> list[int]:
    """Of one stream, in frames."""
    return [0 if index == 0 else ACOUSTIC_DELAY for index in range(codebooks)]


def _temporal(keys: Keys) -> dict[str, object]:
    with located("transformer"):
        require_positive(d_model=keys.integer("d_model"))
        return {
            **_transformer(keys),
            "hidden_scale": (keys.integer("dim_feedforward") + 0.5) / keys.integer("d_model"),
            "context": keys.integer("context"),
            "norm": _renamed(keys, "norm", RUST_NORMS),
            "positional_embedding": _renamed(keys, "positional_embedding", POSITIONS),
        }


def _depth(keys: Keys, norm: object) -> dict[str, object]:
    """The depth transformer, whose codebooks all have weights of their own in candle's layout, and
    whose norms are the temporal one's."""
    transformer = keys.section("transformer")
    with located("depformer.transformer"):
        require_equal("norm", transformer.peek("norm"), norm)
        return {
            **{f"depformer_{key}": value for key, value in _transformer(transformer).items()},
            "depformer_dim_feedforward": transformer.integer("dim_feedforward"),
            "depformer_pos_emb": _renamed(transformer, "positional_embedding", POSITIONS),
            "depformer_low_rank_embeddings": keys.optional_integer("low_rank_embeddings"),
            "depformer_multi_linear": True,
            "depformer_weights_per_step": True,
        }


def _transformer(keys: Keys) -> dict[str, object]:
    """The keys that both transformers have."""
    for key, only in ONLY.items():
        require_equal(key, keys.flag(key, only), only)
    require_equal("cross_attention", keys.peek("cross_attention"), None)
    return {
        "dim": keys.integer("d_model"),
        "num_heads": keys.integer("num_heads"),
        "num_layers": keys.integer("num_layers"),
        "max_period": keys.integer("max_period"),
        "kv_repeat": keys.integer("kv_repeat", 1),
        "layer_scale": keys.optional_number("layer_scale"),
        "gating": keys.text("gating", "none"),
    }


def _renamed(keys: Keys, key: str, names: Mapping[str, str]) -> str:
    value = keys.text(key)
    require_one_of(key, value, names)
    return names[value]


def _read_conditioners(keys: Keys) -> dict[str, object]:
    """Tables of values, which are all that released models have (moshi-core conditioner.rs)."""
    found: dict[str, object] = {}
    for name in keys.unread():
        with located(f"conditioners.{name}"):
            section = keys.section(name)
            require_equal("type", section.text("type"), "Lut")
            table = {key: section.peek(key) for key in ("n_bins", "dim", "possible_values")}
            found[name] = {"type": "lut", "lut": {**table, "tokenizer": "noop"}}
    return found
