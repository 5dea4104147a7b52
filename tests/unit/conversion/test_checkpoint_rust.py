import json
import tomllib

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
from support.checkpoints import MIMI, MOSHI, Json, candle, random_lm, write_folder
from support.sources import TOML

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import MimiConfig
from kyutai_onnx.runtime.errors import ModelError

TRANSLATING: Json = MOSHI | {
    "model_type": "hibiki",
    "delays": [0, 0, 2, 2, 2, 0, 2],
    "depformer_max_period": 10000,
    "conditioners": {
        "description": {
            "type": "lut",
            "lut": {
                "n_bins": 31,
                "dim": 5,
                "tokenizer": "noop",
                "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
            },
        }
    },
    "fuser": {"sum": ["description"]},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository as hibiki-rs reads it: candle's layout and a `config.toml`.

    Its Mimi would be the full one, so the tiny one's configuration takes that one's place.
    """
    tiny = MimiConfig.from_json(MIMI)
    monkeypatch.setattr(MimiConfig, "default", staticmethod(lambda: tiny))
    state = random_lm(TRANSLATING)
    write_folder(tmp_path, TRANSLATING, candle(state, TRANSLATING))
    (tmp_path / "model.safetensors").rename(tmp_path / "hibiki.safetensors")
    for file in ("config.json", "mimi_config.json"):
        (tmp_path / file).unlink()
    (tmp_path / "config.toml").write_text(TOML)
    return tmp_path


def opened_from_json(folder, values: Json) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(values))
    checkpoint = open_checkpoint(str(folder))
    (folder / "config.json").unlink()
    return checkpoint


def test_a_repository_of_the_rust_program_opens_as_its_twin_does(folder):
    checkpoint = open_checkpoint(str(folder))
    names: Json = {"moshi_name": "hibiki.safetensors", "mimi_config_name": None}
    twin = opened_from_json(folder, TRANSLATING | names)
    assert checkpoint.family == "hibiki"
    assert checkpoint.config.lm == twin.config.lm
    assert checkpoint.config.lm.conditioners == twin.config.lm.conditioners
    assert checkpoint.tokenizer == folder / "tokenizer.model"
    for name, tensor in random_lm(TRANSLATING).items():
        if name != "text_emb.weight":
            assert np.array_equal(checkpoint.lm.read(name), tensor)
    assert np.array_equal(checkpoint.lm.read("text_emb.weight"), twin.lm.read("text_emb.weight"))


def test_what_the_rust_program_draws_with_is_kept(folder):
    drawn = {"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 25}
    assert open_checkpoint(str(folder)).config.lm_gen == drawn


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"Rope"', '"Rotary"', r"transformer: positional_embedding is 'Rotary', .* Rope"),
        ('"RmsNorm"', '"BatchNorm"', r"transformer: norm is 'BatchNorm', .* RmsNorm"),
        ("bias_ff = false", "bias_ff = true", "transformer: bias_ff is True; "),
        ('type = "Lut"', 'type = "ContinuousAttribute"', "conditioners.description: type is 'Co"),
        ("num_slices = 4", "", "model: num_slices is missing"),
        ('moshi_name = "hibiki.safetensors"', "", "moshi_name is missing"),
        ("[model]", "[model", "config.toml is not TOML"),
        ("num_layers = 2", "num_layers = 3", "language model"),
    ],
)
def test_what_no_release_has_is_refused_by_its_key(folder, old, new, complaint):
    (folder / "config.toml").write_text(TOML.replace(old, new, 1))
    with pytest.raises(ModelError, match=complaint) as error:
        open_checkpoint(str(folder))
    assert "\n" not in str(error.value)


def test_the_norms_of_both_transformers_must_be_alike(folder):
    depth = TOML.index("[model.depformer.transformer]")
    changed = TOML[:depth] + TOML[depth:].replace("RmsNorm", "LayerNorm")
    assert tomllib.loads(changed) != tomllib.loads(TOML)
    (folder / "config.toml").write_text(changed)
    with pytest.raises(ModelError, match=r"depformer.transformer: norm is 'LayerNorm'"):
        open_checkpoint(str(folder))
