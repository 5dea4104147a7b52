import math

import pytest
from support.checkpoints import (
    MIMI,
    MOSHI,
    SPEAKING,
    TEXT_ONLY,
    TRANSFORMERS_MIMI,
    TRANSFORMERS_STT,
    Json,
)

from kyutai_onnx.conversion.checkpoint.config import (
    LMConfig,
    LutConditioner,
    MimiConfig,
    RepositoryConfig,
    TensorConditioner,
    TransformerConfig,
    gating_hidden,
)
from kyutai_onnx.runtime.errors import ModelError


def changed(values: Json, section: str, **keys: object) -> Json:
    part = values[section]
    assert isinstance(part, dict)
    return values | {section: part | keys}


def transformer(**keys: object) -> TransformerConfig:
    values: Json = {
        "dim": 32,
        "num_heads": 4,
        "num_layers": 2,
        "dim_feedforward": 128,
        "context": 8,
        "max_period": 10000.0,
        "positional_embedding": "rope",
        "norm": "rms_norm_f32",
        "gating": "silu",
        "layer_scale": None,
    }
    return TransformerConfig(**(values | keys))  # type: ignore[arg-type]


def test_heads_share_keys_and_values_by_kv_repeat():
    config = transformer(kv_repeat=2)
    assert (config.head_dim, config.kv_heads) == (8, 2)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("norm", "batch_norm", "norm is 'batch_norm', not one of layer_norm, "),
        ("positional_embedding", "alibi", "positional_embedding is 'alibi'"),
        ("gating", "swish", "gating is 'swish'"),
        ("causal", False, "causal is False; "),
        ("num_heads", 5, r"num_heads is 5, .* dim 32"),
        ("kv_repeat", 3, "kv_repeat is 3, which does not divide 4 heads"),
        ("context", 0, "context is 0"),
        ("num_heads", 32, r"rope .* head width, not 1"),
    ],
)
def test_a_transformer_refuses_what_the_reference_refuses(key, value, complaint):
    with pytest.raises(ModelError, match=complaint):
        transformer(**{key: value})


def test_the_built_in_mimi_makes_frames_of_eighty_milliseconds():
    config = MimiConfig.default()
    assert (config.sample_rate, config.frame_rate, config.frame_size) == (24000, 12.5, 1920)
    assert (config.hop_length, config.encoder_frame_rate, config.resample_stride) == (960, 25.0, 2)
    assert (config.quantizer.n_q, config.quantizer.n_q_semantic) == (32, 1)
    assert config.seanet.activation_params == (("alpha", 1.0),)


def test_mimi_takes_its_numbers_from_the_file():
    config = MimiConfig.from_json(changed(MIMI, "seanet", activation_params={"alpha": 0.5}))
    assert (config.hop_length, config.frame_size, config.resample_stride) == (8, 16, 2)
    assert (config.transformer.dim, config.transformer.context) == (16, 6)
    assert config.seanet.activation_params == (("alpha", 0.5),)


@pytest.mark.parametrize(
    ("section", "keys", "complaint"),
    [
        ("seanet", {"pad_mode": "reflect"}, "seanet: pad_mode is 'reflect'; only 'constant'"),
        ("seanet", {"causal": False}, "seanet: causal is False"),
        ("seanet", {"norm": "weight_norm"}, "seanet: norm is 'weight_norm'"),
        ("seanet", {"activation": "Softmax"}, "seanet: activation is 'Softmax'"),
        ("seanet", {"lstm": 2}, "seanet: unknown key lstm"),
        ("seanet", {"ratios": []}, "seanet: ratios is empty"),
        ("seanet", {"ratios": [4, 2.5]}, "seanet: ratios is .* a list of integers"),
        ("seanet", {"dimension": 8}, "input_dimension is 16; only 8"),
        ("seanet", {"n_residual_layers": 10**9}, "seanet: n_residual_layers is 1000000000"),
        ("transformer", {"num_layers": 10**9}, "transformer: num_layers is 1000000000"),
        ("transformer", {"d_model": 10**30}, "integer of at most"),
        ("quantizer", {"n_q": 1}, "quantizer: n_q is 1; it must exceed n_q_semantic 1"),
        ("quantizer", {"bins": "many"}, "quantizer: bins is 'many'; "),
        ("transformer", {"conv_layout": False}, "transformer: conv_layout is False"),
        ("transformer", {"context": None}, "transformer: context is null"),
        ("transformer", {"output_dimensions": [16, 16]}, "output_dimensions has 2 entries"),
    ],
)
def test_mimi_names_the_value_it_cannot_export(section, keys, complaint):
    with pytest.raises(ModelError, match=complaint):
        MimiConfig.from_json(changed(MIMI, section, **keys))


@pytest.mark.parametrize("key", ["seanet", "quantizer", "transformer", "sample_rate"])
def test_mimi_says_which_key_is_missing(key):
    with pytest.raises(ModelError, match=f"{key} is missing"):
        MimiConfig.from_json({name: value for name, value in MIMI.items() if name != key})


def test_frame_rates_that_do_not_divide_are_refused():
    with pytest.raises(ModelError, match="frame_rate is 30"):
        MimiConfig.from_json(MIMI | {"frame_rate": 30})


def test_a_model_without_codebooks_of_its_own_has_no_depth_transformer():
    config = LMConfig.from_json(TEXT_ONLY)
    assert config.depformer is None
    assert config.transformer.dim_feedforward == 132
    assert gating_hidden(config.dim, 132) == 88
    assert (config.text_card_out, max(config.delays)) == (20, 0)


def test_the_depth_transformer_inherits_what_it_does_not_override():
    config = LMConfig.from_json(MOSHI | {"kv_repeat": 2, "layer_scale": 0.1})
    assert config.depformer is not None
    depth = config.depformer.transformer
    assert (depth.kv_repeat, depth.layer_scale, depth.gating) == (2, 0.1, "silu")
    assert (depth.context, depth.positional_embedding, depth.norm) == (None, "none", "rms_norm_f32")
    own = {"depformer_kv_repeat": 1, "depformer_layer_scale": None, "depformer_gating": "gelu"}
    overridden = LMConfig.from_json(MOSHI | {"kv_repeat": 2, "layer_scale": 0.1} | own).depformer
    assert overridden is not None
    depth = overridden.transformer
    assert (depth.kv_repeat, depth.layer_scale, depth.gating) == (1, None, "gelu")


def test_a_depth_feed_forward_width_defaults_to_the_hidden_scale():
    config = LMConfig.from_json(MOSHI | {"depformer_dim_feedforward": None, "hidden_scale": 6})
    assert config.depformer is not None
    assert config.depformer.transformer.dim_feedforward == 96


def test_a_schedule_shares_weight_sets_between_codebooks():
    depth = LMConfig.from_json(SPEAKING).depformer
    assert depth is not None
    assert (depth.weight_sets, depth.input_sets) == (3, 3)
    assert [depth.weight_set(codebook) for codebook in range(4)] == [0, 1, 2, 2]
    without = LMConfig.from_json(MOSHI).depformer
    assert without is not None
    assert [without.weight_set(codebook) for codebook in range(4)] == [0, 1, 2, 3]


def test_shared_weights_are_one_set():
    alone = {"depformer_weights_per_step": False, "depformer_multi_linear": False}
    depth = LMConfig.from_json(MOSHI | alone).depformer
    assert depth is not None
    assert (depth.weight_sets, depth.input_sets) == (1, 1)
    assert (depth.weight_set(3), depth.input_set(3)) == (0, 0)


def test_conditioners_and_their_fuser_are_read():
    config = LMConfig.from_json(SPEAKING)
    assert config.conditioners == {
        "speaker_wavs": TensorConditioner(dim=6),
        "cfg": LutConditioner(dim=5, n_bins=7, possible_values=("1.0", "1.5", "2.0")),
    }
    assert config.fuser is not None
    assert (config.fuser.sum, config.fuser.cross) == (("cfg",), ("speaker_wavs",))
    assert config.fuser.cross_attention_pos_emb
    assert config.demux_second_text_stream
    assert LMConfig.from_json(TEXT_ONLY).fuser is None


@pytest.mark.parametrize(
    ("values", "keys", "complaint"),
    [
        (TEXT_ONLY, {"delays": [0]}, "delays has 1 entries for 4 streams"),
        (TEXT_ONLY, {"context": None}, "context is null"),
        (TEXT_ONLY, {"dim": "wide"}, "dim is 'wide'; "),
        (TEXT_ONLY, {"causal": 1}, "causal is 1; "),
        (TEXT_ONLY, {"positional_scale": 2}, "positional_scale is 2"),
        (TEXT_ONLY, {"lora": True, "quantize": True}, "lora and quantize"),
        (TEXT_ONLY, {"num_layers": None}, "num_layers is null"),
        (MOSHI, {"dep_q": 7}, "dep_q is 7 and n_q 6"),
        (MOSHI, {"depformer_num_heads": None}, "depth transformer: depformer_num_heads is null"),
        (MOSHI, {"depformer_gating": "none"}, r"depth transformer: .* gating"),
        (MOSHI, {"depformer_norm": "instance"}, "depformer_norm is 'instance'"),
        (MOSHI, {"depformer_dim_feedforward": [48]}, "1 entries for 4 sets"),
        (SPEAKING, {"depformer_weights_per_step_schedule": [0, 1]}, "schedule has 2 entries"),
        (SPEAKING, {"fuser": {"prepend": ["cfg"]}}, "fuser: prepend is"),
        (SPEAKING, {"fuser": {"sum": ["tone"]}}, r"fuser: .* tone"),
        (SPEAKING, {"conditioners": {"x": {"type": "t5"}}}, "conditioners: x: "),
        (SPEAKING, {"norm_emb": True}, r"norm_emb .* text stream"),
    ],
)
def test_a_language_model_names_the_value_it_cannot_export(values, keys, complaint):
    with pytest.raises(ModelError, match=complaint):
        LMConfig.from_json(values | keys)


def test_unknown_keys_are_passed_over():
    config = RepositoryConfig.from_json(SPEAKING | {"flavour": "mint"})
    assert config.lm == RepositoryConfig.from_json(SPEAKING).lm


def test_moshi_7b_is_what_a_repository_without_configuration_holds():
    config = RepositoryConfig.legacy()
    assert config.lm is not None
    assert config.lm.depformer is not None
    assert (config.lm.dim, config.lm.transformer.num_layers, config.lm.n_q) == (4096, 32, 16)
    assert gating_hidden(4096, int(4.125 * 4096)) == 11264
    assert config.lm.depformer.weight_sets == 8
    assert (config.family, config.mimi_codebooks) == ("moshi", 8)
    assert config.tokenizer_name == "tokenizer_spm_32k_3.model"


def test_a_repository_names_its_files_and_settings():
    config = RepositoryConfig.from_json(SPEAKING | {"model_id": {"sig": "abc", "epoch": 3}})
    assert (config.family, config.mimi_name) == ("tts", "mimi.safetensors")
    assert config.moshi_name == "model.safetensors"
    assert (config.tts.audio_delay, config.tts.second_stream_ahead) == (1.28, 2)
    assert (config.tts.multistream, config.tts.max_speakers) == (False, 5)
    assert config.model_id == {"sig": "abc", "epoch": 3}
    assert config.stt.audio_silence_prefix_seconds == 1.0
    bare = RepositoryConfig.from_json({k: v for k, v in SPEAKING.items() if k != "stt_config"})
    assert (bare.stt.audio_delay_seconds, bare.stt.audio_silence_prefix_seconds) == (0.0, 0.0)


def test_mimi_runs_with_the_codebooks_of_the_larger_side():
    assert RepositoryConfig.from_json(TEXT_ONLY).mimi_codebooks == 3
    assert RepositoryConfig.from_json(MOSHI).mimi_codebooks == 4
    both = MOSHI | {"dep_q": 6, "tts_config": {"multistream": True}}
    assert RepositoryConfig.from_json(both).mimi_codebooks == 3


def test_an_unknown_model_type_is_refused():
    with pytest.raises(ModelError, match=r"config.json: model_type is 'asr'"):
        RepositoryConfig.from_json(TEXT_ONLY | {"model_type": "asr"})


def test_transformers_mimi_is_the_same_codec():
    config = RepositoryConfig.from_json(TRANSFORMERS_MIMI)
    assert config.mimi == MimiConfig.from_json(MIMI)
    assert (config.family, config.mimi_name, config.lm) == ("mimi", "model.safetensors", None)
    assert config.mimi_codebooks == 6


def test_the_defaults_of_transformers_mimi_are_mimi_v0_1():
    assert RepositoryConfig.from_json({"model_type": "mimi"}).mimi == MimiConfig.default()


def test_transformers_speech_to_text_is_the_same_model():
    config = RepositoryConfig.from_json(TRANSFORMERS_STT)
    ours = LMConfig.from_json(TEXT_ONLY)
    assert config.lm is not None
    assert (config.lm.transformer, config.lm.delays) == (ours.transformer, ours.delays)
    assert (config.lm.card, config.lm.text_card) == (ours.card, ours.text_card)
    assert config.mimi == MimiConfig.from_json(MIMI)
    assert config.family == "stt"


def test_newer_transformers_files_keep_the_rope_elsewhere():
    values = {k: v for k, v in TRANSFORMERS_STT.items() if k != "rope_theta"}
    rope = {"rope_type": "default", "rope_theta": 5000.0}
    config = RepositoryConfig.from_json(values | {"rope_parameters": rope})
    assert config.lm is not None
    assert config.lm.transformer.max_period == 5000.0
    with pytest.raises(ModelError, match="rope_type is 'yarn'"):
        RepositoryConfig.from_json(values | {"rope_parameters": {"rope_type": "yarn"}})


@pytest.mark.parametrize(("dim", "hidden"), [(2048, 5632), (32, 88), (32, 87), (48, 128), (32, 84)])
def test_a_gated_width_of_transformers_survives_the_way_back(dim, hidden):
    values = TRANSFORMERS_STT | {"hidden_size": dim, "ffn_dim": 2 * hidden}
    config = RepositoryConfig.from_json(values)
    assert config.lm is not None
    feedforward = config.lm.transformer.dim_feedforward
    assert isinstance(feedforward, int)
    assert gating_hidden(dim, feedforward) == hidden


def test_a_gated_width_that_no_feed_forward_has_is_refused():
    with pytest.raises(ModelError, match="ffn_dim is 170"):
        RepositoryConfig.from_json(TRANSFORMERS_STT | {"ffn_dim": 2 * 85})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (TRANSFORMERS_MIMI | {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        (TRANSFORMERS_MIMI | {"use_causal_conv": False}, "use_causal_conv is False"),
        (TRANSFORMERS_MIMI | {"upsample_groups": 1}, "upsample_groups is 1"),
        (TRANSFORMERS_MIMI | {"head_dim": 4}, "head_dim is 4"),
        (TRANSFORMERS_STT | {"rms_norm_eps": 1e-6}, "rms_norm_eps is 1e-06"),
        (TRANSFORMERS_STT | {"sliding_window": None}, "sliding_window is null"),
        (
            {"model_type": "moshi", "architectures": ["MoshiForConditionalGeneration"]},
            r"mimi and kyutai_speech_to_text .*, not moshi",
        ),
    ],
)
def test_transformers_variants_without_a_counterpart_are_refused(values, complaint):
    with pytest.raises(ModelError, match=complaint):
        RepositoryConfig.from_json(values)


def test_a_stride_is_a_whole_number_of_latents():
    config = MimiConfig.from_json(MIMI | {"frame_rate": 100})
    assert config.resample_stride == 1
    assert math.isclose(config.frame_size / config.sample_rate, 1 / config.frame_rate)
