import pytest

pytest.importorskip("torch", reason="the export needs torch")

import torch
from safetensors.torch import save_file
from support.checkpoints import Json, State, mlx, random_lm, write_folder
from support.sources import (
    READING,
    TALKING,
    TRANSCRIBING,
    TRANSLATING,
    assert_read_back,
    mlx_quantized,
    worst,
)

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import RepositoryConfig
from kyutai_onnx.runtime.errors import ModelError

TALKER = random_lm(TALKING)
IN_Q4 = mlx_quantized(mlx(TALKER, TALKING), 4, 32)
FORMS = {"model.q4.safetensors": (4, 32), "model.q8.safetensors": (8, 64)}
Q4 = "model.q4.safetensors"


def opened(folder, values: Json, stored: State, name: str = Q4) -> Checkpoint:
    write_folder(folder, values, {})
    (folder / "model.safetensors").unlink()
    save_file(stored, folder / name)
    return open_checkpoint(str(folder))


@pytest.mark.parametrize(("name", "largest"), [(Q4, 0.14), ("model.q8.safetensors", 0.013)])
@pytest.mark.parametrize("values", [TALKING, TRANSLATING, READING])
def test_groups_are_multiplied_out(tmp_path, values, name, largest):
    state = random_lm(values | {"model_type": "moshi"})
    written = mlx_quantized(mlx(state, values), *FORMS[name])
    values = values | {"moshi_name": name, "model_type": "moshi"}
    lm = opened(tmp_path, values, written.stored, name).lm
    assert_read_back(lm, written, state, values)
    assert lm is not None
    assert lm.dtype("text_emb.weight") == "U32"
    assert worst(lm, state) < largest


@pytest.mark.parametrize(("bits", "group"), [(8, 32), (4, 64), (2, 64)])
def test_bits_and_groups_are_those_of_the_tensors_not_of_the_name(tmp_path, bits, group):
    written = mlx_quantized(mlx(TALKER, TALKING), bits, group)
    assert_read_back(opened(tmp_path, TALKING, written.stored).lm, written, TALKER, TALKING)


def test_a_model_that_only_transcribes_is_read(tmp_path):
    state = random_lm(TRANSCRIBING)
    named = {
        name.replace("emb.", "audio_embs.") if name.startswith("emb.") else name: tensor
        for name, tensor in state.items()
    }
    named = {name.replace(".alpha", ".weight"): tensor for name, tensor in named.items()}
    written = mlx_quantized(named, 4, 32)
    assert_read_back(
        opened(tmp_path, TRANSCRIBING, written.stored).lm, written, state, TRANSCRIBING
    )


@pytest.mark.parametrize("name", [*FORMS, "model.safetensors"])
@pytest.mark.parametrize("configured", [True, False])
def test_weights_are_found_where_nothing_names_them(tmp_path, monkeypatch, name, configured):
    legacy = RepositoryConfig.from_json(TALKING)
    monkeypatch.setattr(RepositoryConfig, "legacy", staticmethod(lambda: legacy))
    written = mlx_quantized(mlx(TALKER, TALKING), *FORMS.get(name, (8, 64)))
    opened(tmp_path, TALKING, written.stored, name)
    if not configured:
        (tmp_path / "config.json").unlink()
    checkpoint = open_checkpoint(str(tmp_path))
    assert_read_back(checkpoint.lm, written, TALKER, TALKING)
    assert name in checkpoint.repository.files_used


def test_a_file_that_is_named_is_not_searched_for(tmp_path):
    stored = IN_Q4.stored
    with pytest.raises(ModelError, match=r"has no file moshi.safetensors"):
        opened(tmp_path, TALKING | {"moshi_name": "moshi.safetensors"}, stored)


BASE = "transformer.layers.1.self_attn.out_proj"


def without(*names: str):
    return lambda stored: [stored.pop(name) for name in names]


def replaced(name: str, change):
    return lambda stored: stored.update({name: change(stored[name])})


def anchorless(stored: State) -> None:
    for name in ("text_emb", "text_linear", "audio_embs.0"):
        stored[f"{name}.weight"] = torch.ones(1, 64)
        del stored[f"{name}.scales"], stored[f"{name}.biases"]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (without(f"{BASE}.scales"), f"{BASE} is quantised .* without {BASE}.scales"),
        (without(f"{BASE}.biases"), f"{BASE} is quantised .* without {BASE}.biases"),
        (without(f"{BASE}.weight"), f"{BASE} is quantised .* without {BASE}.weight"),
        (without(f"{BASE}.scales", f"{BASE}.biases"), "without .*out_proj.scales, .*biases"),
        (replaced(f"{BASE}.scales", lambda t: t[:, :1].clone()), f"{BASE}.scales and .* do not"),
        (replaced(f"{BASE}.scales", lambda t: t[:3].clone()), f"{BASE}.scales and .* do not fit"),
        (replaced(f"{BASE}.weight", lambda t: t.to(torch.int32)), f"{BASE}.scales and .* do not"),
        (replaced(f"{BASE}.weight", lambda t: t[:, :7].clone()), "2 groups for 56 weights|misshap"),
        (replaced(f"{BASE}.weight", lambda t: t[:, :4].clone()), "configuration"),
        (replaced("text_emb.weight", lambda t: t[:, :6].clone()), "packs 64 weights into 6 words"),
        (anchorless, r"none of text_emb, .* is quantised"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path, damage, complaint):
    stored = dict(IN_Q4.stored)
    damage(stored)
    with pytest.raises(ModelError, match=complaint) as error:
        opened(tmp_path, TALKING, stored)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_an_adapter_on_top_of_groups_is_refused(tmp_path):
    opened(tmp_path, TALKING, IN_Q4.stored)
    with pytest.raises(ModelError, match=r"is quantised, .*LoRA"):
        open_checkpoint(str(tmp_path), lora="lora.safetensors")
