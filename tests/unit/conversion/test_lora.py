import json

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from safetensors.torch import save_file
from support.checkpoints import (
    MOSHI,
    SPEAKING,
    Json,
    State,
    fused,
    random_lm,
    write_folder,
)
from support.sources import RANK, adapter_for, is_linear

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.checkpoint.lora import Lora
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.runtime.errors import ModelError


def merged(state: State, adapter: State, name: str, scaling: float) -> torch.Tensor:
    path = name.removesuffix(".weight")
    product = adapter[f"{path}.lora_B.weight"] @ adapter[f"{path}.lora_A.weight"]
    return state[name] + scaling * product


def test_adapted_weights_are_merged_in_float32_and_others_left_alone():
    state = random_lm(MOSHI)
    name = "transformer.layers.0.gating.linear_in.weight"
    adapter = adapter_for(state, name)
    half = {key: value.bfloat16() for key, value in state.items()}
    lora = Lora(InMemory(half), InMemory({k: v.bfloat16() for k, v in adapter.items()}), 2.0)
    assert np.array_equal(lora.read(name), merged(state, adapter, name, 2.0))
    assert np.array_equal(lora.read(name, slice(3, 5)), lora.read(name)[3:5])
    assert np.array_equal(lora.read("text_linear.weight"), state["text_linear.weight"])
    assert lora.shapes() == {key: tuple(value.shape) for key, value in state.items()}
    assert lora.dtype(name) == "F32"
    assert lora.dtype("text_linear.weight") == "BF16"


def test_attention_is_adapted_set_by_set():
    state = random_lm(SPEAKING)
    name = "depformer.layers.1.self_attn.in_projs.2.weight"
    adapter = adapter_for(state, name)
    lora = Lora(InMemory(state), InMemory(adapter), 0.5)
    assert np.array_equal(lora.read(name), merged(state, adapter, name, 0.5))
    other = "depformer.layers.1.self_attn.in_projs.1.weight"
    assert np.array_equal(lora.read(other), state[other])


@pytest.mark.parametrize("side", ["in", "out"])
def test_older_adapters_stack_the_sets(side):
    state = random_lm(SPEAKING)
    path = f"depformer.layers.0.self_attn.{side}_proj"
    split = adapter_for(state, *(f"{path}s.{index}.weight" for index in range(3)))
    stacked = {
        f"{path}.lora_{half}.weight": torch.cat(
            [split[f"{path}s.{index}.lora_{half}.weight"] for index in range(3)]
        )
        for half in "AB"
    }
    lora = Lora(InMemory(state), InMemory(stacked), 2.0)
    for index in range(3):
        name = f"{path}s.{index}.weight"
        assert np.array_equal(lora.read(name), merged(state, split, name, 2.0))


def test_whole_tensors_may_be_replaced():
    state = random_lm(MOSHI)
    adapter = {
        "text_emb.weight": state["text_emb.weight"] + 1,
        "out_norm.alpha": torch.full((1, 1, 32), 3.0),
        "linears.0.frozen_W.weight": state["linears.0.weight"] * 2,
    } | adapter_for(state, "linears.0.weight")
    lora = Lora(InMemory(state), InMemory(adapter), 1.0)
    assert np.array_equal(lora.read("text_emb.weight"), state["text_emb.weight"] + 1)
    assert np.array_equal(lora.read("out_norm.alpha"), torch.full((32,), 3.0))
    doubled = state | {"linears.0.weight": state["linears.0.weight"] * 2}
    expected = merged(doubled, adapter, "linears.0.weight", 1.0)
    assert np.array_equal(lora.read("linears.0.weight"), expected)


def test_an_adapter_of_another_model_is_refused():
    state = random_lm(MOSHI)
    adapter = {
        "transformer.layers.9.gating.linear_in.lora_A.weight": torch.ones(RANK, 32),
        "transformer.layers.9.gating.linear_in.lora_B.weight": torch.ones(176, RANK),
        "scores.weight": torch.ones(2, 2),
    }
    with pytest.raises(ModelError, match=r"has scores.weight, transformer.layers.9"):
        Lora(InMemory(state), InMemory(adapter), 2.0)


def test_half_an_adapter_is_refused():
    state = random_lm(MOSHI)
    adapter = adapter_for(state, "text_linear.weight")
    del adapter["text_linear.lora_B.weight"]
    with pytest.raises(ModelError, match=r"only one of lora_A and lora_B for text_linear.weight"):
        Lora(InMemory(state), InMemory(adapter), 2.0)


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ("text_linear.lora_A.weight", (RANK, 31)),
        ("text_linear.lora_B.weight", (19, RANK)),
        ("text_linear.lora_B.weight", (20, RANK + 1)),
        ("text_linear.lora_B.weight", (20,)),
        ("text_emb.weight", (20, 32)),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(part, shape):
    state = random_lm(MOSHI)
    adapter = adapter_for(state, "text_linear.weight") | {part: torch.ones(shape)}
    with pytest.raises(ModelError, match="shape of text_"):
        Lora(InMemory(state), InMemory(adapter), 2.0)


def full_adapter(values: Json) -> tuple[State, State]:
    """A model, and an adapter of every linear layer of it."""
    state = random_lm(values)
    return state, adapter_for(state, *(name for name in state if is_linear(name, state[name])))


@pytest.mark.parametrize("values", [MOSHI, SPEAKING])
def test_an_adapter_of_every_linear_layer_is_merged_as_the_reference_does(tmp_path, values):
    loaders = pytest.importorskip("moshi.models.loaders")
    state, adapter = full_adapter(values)
    folder = write_folder(tmp_path, values, fused(state), dtype=torch.float32)
    save_file(adapter, tmp_path / "lora.safetensors")
    files = ("model_type", "mimi_name", "mimi_config_name", "tokenizer_name", "stt_config")
    known = {key: value for key, value in values.items() if key not in (*files, "tts_config")}
    reference = loaders.get_moshi_lm(
        folder / "model.safetensors",
        known | {"lora": True, "lora_rank": RANK, "lora_scaling": 0.5},
        dtype=torch.float32,
        lora_weights=folder / "lora.safetensors",
        fuse_lora=True,
    )
    (folder / "config.json").write_text(json.dumps(values | {"lora_scaling": 0.5}))
    lm = open_checkpoint(str(folder), lora="lora.safetensors").lm
    assert lm is not None
    expected = reference.state_dict()
    assert set(expected) == set(lm.shapes())
    for name, tensor in expected.items():
        torch.testing.assert_close(
            torch.from_numpy(lm.read(name)), tensor.reshape(lm.shapes()[name])
        )
        changed = not np.array_equal(lm.read(name), state[name])
        assert changed == (name in {part.replace("lora_A.", "") for part in adapter})


def test_a_fine_tune_with_its_adapter_merged_in_needs_none(tmp_path):
    """moshi-finetune finetune/checkpointing.py, whose configuration still says `lora`."""
    state = random_lm(MOSHI)
    write_folder(tmp_path, MOSHI | {"lora": True, "lora_rank": RANK}, state)
    (tmp_path / "model.safetensors").rename(tmp_path / "consolidated.safetensors")
    lm = open_checkpoint(str(tmp_path)).lm
    assert lm is not None
    assert all(np.array_equal(lm.read(name), tensor) for name, tensor in state.items())
    (tmp_path / "consolidated.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="sets lora without a lora_name"):
        open_checkpoint(str(tmp_path))
