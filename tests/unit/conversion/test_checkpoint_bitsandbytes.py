import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from safetensors.torch import save_file
from support.checkpoints import (
    MOSHI,
    SPEAKING,
    TEXT_ONLY,
    Json,
    State,
    fused,
    random_lm,
    write_folder,
)
from support.sources import (
    READING,
    TALKING,
    TRANSCRIBING,
    TRANSLATING,
    assert_read_back,
    bitsandbytes,
    worst,
)

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import RepositoryConfig
from kyutai_onnx.runtime.errors import ModelError

LAYERED: Json = MOSHI | {
    "model_type": "moshi",
    "norm": "layer_norm",
    "depformer_norm": "layer_norm",
    "kv_repeat": 2,
    "depformer_kv_repeat": 1,
}
NAME = "model.q8.safetensors"
GATE = "transformer.layers.0.gating.linear_in.weight"


IN_INT8 = bitsandbytes(random_lm(MOSHI)).stored


def opened(folder, values: Json, stored: State, **options: str) -> Checkpoint:
    """A repository as scripts/export_quantized.py leaves it."""
    write_folder(folder, values | {"quantize": True, "moshi_name": NAME}, {})
    save_file(stored, folder / NAME)
    (folder / "model.safetensors").unlink()
    return open_checkpoint(str(folder), **options)


@pytest.mark.parametrize("values", [TEXT_ONLY, MOSHI, SPEAKING, LAYERED, TRANSCRIBING, READING])
def test_int8_rows_are_multiplied_out(tmp_path, values):
    state = random_lm(values)
    written = bitsandbytes(state)
    lm = opened(tmp_path, values, written.stored).lm
    assert_read_back(lm, written, state, values)
    assert lm is not None
    assert lm.dtype(GATE) == "I8"
    assert worst(lm, state) <= 1 / 254 * 1.0001


@pytest.mark.parametrize("form", ["in_proj_weight", "in_proj.weight"])
def test_int8_attention_of_all_sets_in_one_tensor_is_split(tmp_path, form):
    state = random_lm(TALKING)
    written = bitsandbytes(fused(state))
    stored = {name.replace("in_proj_weight", form): t for name, t in written.stored.items()}
    assert f"depformer.layers.0.self_attn.{form}_scb" in stored
    assert_read_back(opened(tmp_path, TALKING, stored).lm, written, state, TALKING)


def test_the_row_furthest_from_zero_is_kept_exactly(tmp_path):
    state = random_lm(MOSHI)
    lm = opened(tmp_path, MOSHI, bitsandbytes(state).stored).lm
    assert lm is not None
    weight, found = state[GATE], torch.from_numpy(lm.read(GATE))
    furthest = weight.abs().argmax(1, keepdim=True)
    assert np.array_equal(found.gather(1, furthest), weight.gather(1, furthest))


def test_what_hibiki_reads_as_padding_is_the_same_in_int8(tmp_path):
    lm = opened(tmp_path, TRANSLATING, bitsandbytes(random_lm(TRANSLATING)).stored).lm
    assert lm is not None
    rows = lm.read("text_emb.weight")
    assert np.array_equal(rows[2], rows[3])


def test_files_of_other_repositories_may_be_named(tmp_path, monkeypatch):
    elsewhere = "hf://kyutai/moshiko-pytorch-bf16"
    asked = []

    def download(repo, name, revision=None, **_):
        asked.append((repo, name))
        return str(tmp_path / "base" / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    write_folder(tmp_path / "base", MOSHI, {})
    names = {"mimi_name": f"{elsewhere}/mimi.safetensors"}
    names |= {"tokenizer_name": f"{elsewhere}/tokenizer.model"}
    checkpoint = opened(tmp_path / "q8", MOSHI | names, IN_INT8)
    assert checkpoint.tokenizer == tmp_path / "base" / "tokenizer.model"
    assert ("kyutai/moshiko-pytorch-bf16", "mimi.safetensors") in asked


@pytest.mark.parametrize("name", ["model.safetensors", NAME])
def test_a_repository_without_a_configuration_may_be_quantised(tmp_path, monkeypatch, name):
    legacy = RepositoryConfig.from_json(MOSHI)
    monkeypatch.setattr(RepositoryConfig, "legacy", staticmethod(lambda: legacy))
    state = random_lm(MOSHI)
    written = bitsandbytes(state)
    write_folder(tmp_path, MOSHI, {})
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).unlink()
    save_file(written.stored, tmp_path / name)
    checkpoint = open_checkpoint(str(tmp_path))
    assert_read_back(checkpoint.lm, written, state, MOSHI)
    assert name in checkpoint.repository.files_used


def test_an_adapter_on_top_of_int8_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is quantised, .*LoRA.*: give"):
        opened(tmp_path, MOSHI, IN_INT8, lora="lora.safetensors")


def without(name: str):
    return lambda stored: stored.pop(name)


def replaced(name: str, tensor: torch.Tensor):
    return lambda stored: stored.update({name: tensor})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (without(f"{GATE}_scb"), f"{GATE} hold int8 without their scales"),
        (without(GATE), f"{GATE}_scb has no {GATE} to scale"),
        (replaced(f"{GATE}_scb", torch.ones(3)), f"{GATE}_scb does not fit {GATE}"),
        (replaced(f"{GATE}_scb", torch.ones(176, 32)), f"{GATE}_scb does not fit {GATE}"),
        (replaced(GATE, torch.ones(176, 32)), f"{GATE}_scb does not fit {GATE}"),
        (replaced(GATE, torch.ones(176, 16, dtype=torch.int8)), "configuration"),
    ],
)
def test_scales_that_do_not_fit_are_named(tmp_path, damage, complaint):
    stored = dict(IN_INT8)
    damage(stored)
    with pytest.raises(ModelError, match=complaint) as error:
        opened(tmp_path, MOSHI, stored)
    assert "\n" not in str(error.value)


def test_int8_cut_short_is_named(tmp_path):
    opened(tmp_path, MOSHI, IN_INT8)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-7])
    with pytest.raises(ModelError, match=f"{NAME} is not a whole "):
        open_checkpoint(str(tmp_path))
