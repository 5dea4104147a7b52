from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from support.checkpoints import (
    MIMI,
    MOSHI,
    SPEAKING,
    TEXT_ONLY,
    TRANSFORMERS_STT,
    Json,
    State,
    candle,
    fused,
    lm_config,
    mlx,
    random_lm,
    random_mimi,
    random_state,
    transformers_mimi,
    transformers_stt,
)
from torch import Tensor

from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.layouts import (
    canonical_lm,
    canonical_mimi,
    lm_shapes,
    mimi_shapes,
)
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.checkpoint.tensor_views import Tensors
from kyutai_onnx.runtime.errors import ModelError

LAYERED: Json = MOSHI | {
    "norm": "layer_norm",
    "depformer_norm": "layer_norm",
    "kv_repeat": 2,
    "depformer_kv_repeat": 1,
    "layer_scale": 0.1,
}
MODELS = pytest.mark.parametrize("values", [TEXT_ONLY, MOSHI, SPEAKING, LAYERED])
MIMI_CONFIG = MimiConfig.from_json(MIMI)


def assert_same(view: Tensors, state: State) -> None:
    assert dict(view.shapes()) == {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, tensor in state.items():
        assert np.array_equal(view.read(name), tensor), name


@MODELS
def test_published_checkpoints_are_split_into_their_weight_sets(values):
    state = random_lm(values)
    assert_same(canonical_lm(InMemory(fused(state)), lm_config(values)), state)


@MODELS
def test_checkpoints_that_are_split_already_stay_as_they_are(values):
    state = random_lm(values)
    assert_same(canonical_lm(InMemory(state), lm_config(values)), state)


def test_attention_weights_may_be_modules_of_their_own():
    state = random_lm(MOSHI)
    renamed = {n.replace("in_proj_weight", "in_proj.weight"): t for n, t in fused(state).items()}
    assert_same(canonical_lm(InMemory(renamed), lm_config(MOSHI)), state)


def test_fused_rows_are_grouped_by_weight_set_first():
    state = random_lm(SPEAKING)
    stacked = fused(state)["depformer.layers.1.self_attn.in_proj_weight"]
    view = canonical_lm(InMemory(fused(state)), lm_config(SPEAKING))
    assert stacked.shape == (3 * 48, 16)
    third = view.read("depformer.layers.1.self_attn.in_projs.2.weight")
    assert np.array_equal(third, stacked[96:144])


@pytest.mark.parametrize("write", [mlx, candle])
@pytest.mark.parametrize("values", [MOSHI, SPEAKING])
def test_slices_of_mlx_and_candle_become_weight_sets(write: Callable[..., State], values):
    state = random_lm(values)
    written = write(state, values)
    assert any(".3.linear_in" in name for name in written)
    assert_same(canonical_lm(InMemory(written), lm_config(values)), state)


def test_mlx_without_a_depth_transformer_is_read():
    state = random_lm(TEXT_ONLY)
    written = {
        name.replace("emb.", "audio_embs.") if name.startswith("emb.") else name: tensor
        for name, tensor in state.items()
    }
    written = {name.replace(".alpha", ".weight"): tensor for name, tensor in written.items()}
    assert_same(canonical_lm(InMemory(written), lm_config(TEXT_ONLY)), state)


def test_slices_of_one_set_of_weights_are_read():
    alone: Json = {"depformer_weights_per_step": False, "depformer_multi_linear": False}
    values = MOSHI | alone
    state = random_lm(values)
    written = candle(state, values)
    for codebook in range(4):
        for part in ("linear_in", "linear_out"):
            weight = "depformer_in.0" if part == "linear_in" else f"linears.{codebook}"
            written[f"depformer.{codebook}.{part}.weight"] = state[f"{weight}.weight"]
        for layer in range(2):
            for part in ("linear_in", "linear_out"):
                name = f"layers.{layer}.gating.{part}.weight"
                written[f"depformer.{codebook}.transformer.{name}"] = state[f"depformer.{name}"]
    assert_same(canonical_lm(InMemory(written), lm_config(values)), state)


def test_a_slice_beyond_the_codebooks_is_unexpected():
    written = mlx(random_lm(MOSHI), MOSHI) | {"depformer.slices.4.emb.weight": torch.ones(2, 2)}
    with pytest.raises(ModelError, match=r"1 unexpected \(depformer.4.emb.weight\)"):
        canonical_lm(InMemory(written), lm_config(MOSHI))


def test_an_unknown_part_of_a_slice_is_unexpected():
    written = mlx(random_lm(MOSHI), MOSHI) | {"depformer.slices.1.gate.weight": torch.ones(2, 2)}
    with pytest.raises(ModelError, match=r"1 unexpected \(depformer.1.gate.weight\)"):
        canonical_lm(InMemory(written), lm_config(MOSHI))


def test_cross_attention_in_two_parts_is_joined():
    state = random_lm(SPEAKING)
    written = fused(state)
    for layer in range(2):
        name = f"transformer.layers.{layer}.cross_attention.in_proj_weight"
        weight = written.pop(name)
        written |= {f"{name}_q": weight[:32].clone(), f"{name}_kv": weight[32:].clone()}
    assert_same(canonical_lm(InMemory(written), lm_config(SPEAKING)), state)


def test_half_of_a_cross_attention_is_missed():
    written = fused(random_lm(SPEAKING))
    name = "transformer.layers.0.cross_attention.in_proj_weight"
    written[f"{name}_q"] = written.pop(name)[:32]
    with pytest.raises(ModelError, match=r"misshapen \(transformer.layers.0.cross_attention"):
        canonical_lm(InMemory(written), lm_config(SPEAKING))


def test_a_projection_that_feeds_no_depth_transformer_is_left_out():
    state = random_lm(TEXT_ONLY)
    written = fused(state) | {"depformer_in.0.weight": torch.ones(32, 32)}
    assert_same(canonical_lm(InMemory(written), lm_config(TEXT_ONLY)), state)


def test_rows_that_do_not_divide_into_sets_are_refused():
    written = fused(random_lm(MOSHI))
    name = "depformer.layers.0.self_attn.out_proj.weight"
    written[name] = written[name][:-1]
    with pytest.raises(ModelError, match=r"63 rows, .* 4 weight sets"):
        canonical_lm(InMemory(written), lm_config(MOSHI))


def test_a_tensor_given_in_two_forms_is_refused():
    written = fused(random_lm(TEXT_ONLY))
    path = "transformer.layers.0.self_attn"
    written[f"{path}.in_projs.0.weight"] = written[f"{path}.in_proj_weight"]
    with pytest.raises(ModelError, match=r"both hold transformer.layers.0.self_attn.in_projs.0"):
        canonical_lm(InMemory(written), lm_config(TEXT_ONLY))


def test_a_checkpoint_of_another_size_says_what_does_not_fit():
    smaller = fused(random_lm(TEXT_ONLY | {"num_layers": 1, "text_card": 15}))
    with pytest.raises(ModelError) as error:
        canonical_lm(InMemory(smaller), lm_config(TEXT_ONLY))
    message = str(error.value)
    assert "6 missing (transformer.layers.1" in (message)
    assert "2 misshapen (text_emb.weight [16, 32] instead of [21, 32]" in message


def test_published_codecs_are_read():
    state = random_mimi()
    assert_same(canonical_mimi(InMemory(fused(state)), MIMI_CONFIG), state)


def test_a_codec_without_resampling_has_no_resampling_weights():
    config = MimiConfig.from_json(MIMI | {"frame_rate": 100})
    assert not any("sample" in name for name in mimi_shapes(config))
    state = random_state(mimi_shapes(config))
    assert_same(canonical_mimi(InMemory(state), config), state)


def test_older_names_of_codebooks_are_read():
    state = random_mimi()
    older = {
        "_initialized": "inited",
        "cluster_usage": "cluster_size",
        "embedding_sum": "embed_avg",
    }
    written = fused(state)
    for new, old in older.items():
        written = {n.replace(f"_codebook.{new}", f"_codebook.{old}"): t for n, t in written.items()}
    assert "quantizer.rvq_first.vq.layers.0._codebook.inited" in written
    assert_same(canonical_mimi(InMemory(written), MIMI_CONFIG), state)


def test_weight_norms_are_folded_and_the_distilled_model_is_left_out():
    written = fused(random_mimi()) | {"wavlm_proj.weight": torch.ones(3)}
    convolutions = [n for n in written if n.endswith((".conv.weight", ".convtr.weight"))]
    folded: dict[str, Tensor] = {}
    for name in convolutions:
        v = written.pop(name)
        g = torch.rand(v.shape[0], 1, 1) + 0.5
        written |= {f"{name}_v": v, f"{name}_g": g}
        folded[name] = torch._weight_norm(v, g, 0)
    view = canonical_mimi(InMemory(written), MIMI_CONFIG)
    assert len(folded) > 10
    for name, weight in folded.items():
        torch.testing.assert_close(torch.from_numpy(view.read(name)), weight)


def test_half_of_a_weight_norm_is_unexpected():
    written = fused(random_mimi())
    name = "encoder.model.0.conv.conv.weight"
    written[f"{name}_v"] = written.pop(name)
    with pytest.raises(ModelError, match=rf"1 missing \({name}\); 1 unexpected \({name}_v\)"):
        canonical_mimi(InMemory(written), MIMI_CONFIG)


def test_transformers_codec_comes_back_exactly():
    state = random_mimi()
    written = transformers_mimi(state, heads=2)
    assert "encoder_transformer.layers.0.self_attn.q_proj.weight" in written
    assert "upsample.conv.weight" in written
    assert_same(canonical_mimi(InMemory(written), MIMI_CONFIG), state)


def test_transformers_codec_with_shortcuts_and_more_layers_comes_back():
    seanet = MIMI["seanet"]
    assert isinstance(seanet, dict)
    values = MIMI | {"seanet": seanet | {"n_residual_layers": 2, "true_skip": False}}
    state = random_mimi(values)
    written = transformers_mimi(state, heads=2)
    assert "decoder.layers.4.shortcut.conv.bias" in written
    assert_same(canonical_mimi(InMemory(written), MimiConfig.from_json(values)), state)


def test_transformers_speech_to_text_comes_back_exactly():
    config = RepositoryConfig.from_json(TRANSFORMERS_STT)
    assert config.lm is not None
    assert config.mimi is not None
    lm, mimi = random_state(lm_shapes(config.lm)), random_mimi()
    written = InMemory(transformers_stt(lm, mimi, heads=4, mimi_heads=2, n_q=3))
    assert "codec_model.decoder.layers.0.conv.weight" in written.shapes()
    assert_same(canonical_lm(written, config.lm), lm)
    assert_same(canonical_mimi(written, config.mimi), mimi)


def test_a_transformers_table_of_another_height_is_refused():
    config = lm_config(TEXT_ONLY)
    written = transformers_stt(random_lm(TEXT_ONLY), random_mimi(), 4, 2, n_q=3)
    table = "model.embed_tokens.embed_tokens.weight"
    written[table] = written[table][:-1]
    with pytest.raises(ModelError, match=r"has 54 rows; .* 55"):
        canonical_lm(InMemory(written), config)


def test_what_transformers_files_lack_or_have_too_much_is_reported():
    written = transformers_mimi(random_mimi(), heads=2)
    written["encoder.layers.0.padding"] = torch.ones(1)
    del written["encoder_transformer.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(ModelError) as error:
        canonical_mimi(InMemory(written), MIMI_CONFIG)
    message = str(error.value)
    assert "1 missing (encoder_transformer.transformer.layers.1.self_attn.in_projs.0.w" in message
    assert "3 unexpected (encoder_transformer.layers.1.self_attn.q_proj.weight" in message


def test_the_names_and_shapes_are_those_of_the_reference():
    loaders = pytest.importorskip("moshi.models.loaders")
    config = RepositoryConfig.legacy().lm
    assert config is not None
    for built, ours in (
        (loaders.get_moshi_lm(None, None, device="meta"), lm_shapes(config)),
        (loaders.get_mimi(None, None), mimi_shapes(MimiConfig.default())),
    ):
        shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
        alphas = {name: shape[-1:] for name, shape in shapes.items() if name.endswith(".alpha")}
        assert shapes | alphas == ours
