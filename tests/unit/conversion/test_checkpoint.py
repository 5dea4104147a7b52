import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from safetensors.torch import save_file
from support.checkpoints import (
    MIMI,
    MOSHI,
    SPEAKING,
    TEXT_ONLY,
    TOKENIZER,
    TRANSFORMERS_MIMI,
    TRANSFORMERS_STT,
    Json,
    candle,
    fused,
    lm_config,
    mlx,
    random_lm,
    random_mimi,
    stored,
    transformers_mimi,
    transformers_stt,
    write_folder,
)

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes
from kyutai_onnx.conversion.checkpoint.safetensors_file import SafetensorsFile
from kyutai_onnx.runtime.errors import ModelError, UsageError

HEADS: Json = {"extra_heads_num_heads": 4, "extra_heads_dim": 6}


def test_a_folder_in_kyutais_layout_opens(tmp_path):
    checkpoint = open_checkpoint(str(write_folder(tmp_path, TEXT_ONLY)))
    assert checkpoint.family == "stt"
    assert checkpoint.mimi_config == MimiConfig.from_json(MIMI)
    assert checkpoint.tokenizer == tmp_path / "tokenizer.model"
    assert checkpoint.lm is not None
    assert checkpoint.lm.dtype("text_linear.weight") == "BF16"
    for name, tensor in random_lm(TEXT_ONLY).items():
        assert np.array_equal(checkpoint.lm.read(name), tensor)
    for name, tensor in random_mimi().items():
        assert np.array_equal(checkpoint.mimi.read(name), tensor)
    used = checkpoint.repository.files_used
    assert {"config.json", "mimi_config.json", "model.safetensors", "tokenizer.model"} < set(used)


@pytest.mark.parametrize(("write", "values"), [(mlx, MOSHI), (candle, SPEAKING)])
def test_other_layouts_open_alike(tmp_path, write, values):
    state = random_lm(values)
    checkpoint = open_checkpoint(str(write_folder(tmp_path, values, write(state, values))))
    assert checkpoint.lm is not None
    assert all(np.array_equal(checkpoint.lm.read(name), t) for name, t in state.items())


def test_without_a_configuration_the_first_moshi_is_expected(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY)
    (folder / "config.json").unlink()
    (folder / "tokenizer.model").rename(folder / "tokenizer_spm_32k_3.model")
    codec = folder / "tokenizer-e351c8d8-checkpoint125.safetensors"
    (folder / "mimi.safetensors").rename(codec)
    with pytest.raises(ModelError, match=r"the codec .* fit"):
        open_checkpoint(str(folder))


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ModelError, match=r"neither config.json nor any of model.safetensors"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", "{", "not a JSON object"),
        ("config.json", "[]", "not a JSON object"),
        pytest.param("config.json", '{"a":' * 100_000, "not a JSON object", id="deep"),
        ("config.json", '{"a": %s}' % ("[" * 100 + "]" * 100), "nested too deep"),
        ("config.json", '{"max_period": NaN}', "not a finite number"),
        ("mimi_config.json", "{}", "mimi_config.json: seanet is missing"),
        ("model.safetensors", "", "model.safetensors is not a whole "),
        ("tokenizer.model", "root:x:0:0", "tokenizer.model: not a SentencePiece model"),
        ("tokenizer.model", "", "tokenizer.model: not a SentencePiece model"),
        ("mimi.safetensors", "damaged", "mimi.safetensors is not a whole "),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, content, complaint):
    write_folder(tmp_path, TEXT_ONLY)
    (tmp_path / file).write_text(content)
    with pytest.raises(ModelError, match=complaint):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("file", ["tokenizer.model", "mimi.safetensors", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, file):
    write_folder(tmp_path, TEXT_ONLY)
    (tmp_path / file).unlink()
    with pytest.raises(ModelError, match=f"has no file {file}"):
        open_checkpoint(str(tmp_path))


def test_a_configuration_of_another_model_is_reported_with_the_repository(tmp_path):
    state = fused(random_lm(TEXT_ONLY | {"num_layers": 3}))
    write_folder(tmp_path, TEXT_ONLY, state)
    with pytest.raises(ModelError, match=f"{tmp_path.name}: the language model .* 6 u"):
        open_checkpoint(str(tmp_path))


def test_weights_may_come_in_shards(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY)
    state = stored(fused(random_lm(TEXT_ONLY)))
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(state)}
    for shard in set(places.values()):
        save_file({name: state[name] for name in state if places[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.lm is not None
    assert np.array_equal(checkpoint.lm.read("emb.1.weight"), state["emb.1.weight"])
    assert {"model-0.safetensors", "model-1.safetensors"} < set(checkpoint.repository.files_used)


def test_training_checkpoints_are_read(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY | {"moshi_name": "lm.th", "mimi_name": "mimi.th"})
    torch.save({"fsdp_best_state": {"model": fused(random_lm(TEXT_ONLY))}}, folder / "lm.th")
    torch.save({"model": fused(random_mimi())}, folder / "mimi.th")
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.lm is not None
    expected = random_lm(TEXT_ONLY)["text_linear.weight"]
    assert np.array_equal(checkpoint.lm.read("text_linear.weight"), expected)


def test_heads_that_the_configuration_leaves_out_are_found(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY, fused(random_lm(TEXT_ONLY | HEADS)))
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.config.lm is not None
    assert checkpoint.config.lm.extra_heads_num_heads == 4
    assert checkpoint.config.lm.extra_heads_dim == 6


def test_heads_that_the_file_leaves_out_are_missed(tmp_path):
    write_folder(tmp_path, TEXT_ONLY | HEADS, fused(random_lm(TEXT_ONLY)))
    with pytest.raises(ModelError, match=r"4 missing \(extra_heads.0.weight"):
        open_checkpoint(str(tmp_path))


def test_extra_heads_come_from_another_repository_of_the_model(tmp_path):
    state = random_lm(TEXT_ONLY | HEADS)
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("extra_heads")}
    base = write_folder(tmp_path / "base", TEXT_ONLY, fused(bare))
    other = write_folder(tmp_path / "candle", TEXT_ONLY, fused(state))
    checkpoint = open_checkpoint(str(base), extra_heads=str(other))
    assert checkpoint.config.lm is not None
    assert checkpoint.config.lm.extra_heads_num_heads == 4
    assert checkpoint.lm is not None
    assert np.array_equal(checkpoint.lm.read("extra_heads.3.weight"), state["extra_heads.3.weight"])
    assert np.array_equal(checkpoint.lm.read("emb.0.weight"), state["emb.0.weight"])
    assert f"{other}/model.safetensors" in checkpoint.repository.files_used
    with pytest.raises(UsageError, match="extra heads"):
        open_checkpoint(str(other), extra_heads=str(base))


def test_extra_heads_of_another_model_are_refused(tmp_path):
    base = write_folder(tmp_path / "base", TEXT_ONLY)
    retrained = fused(random_lm(TEXT_ONLY | HEADS, seed=5))
    other = write_folder(tmp_path / "retrained", TEXT_ONLY, retrained)
    with pytest.raises(ModelError, match=r"holds another model than .*: text_linear.weight has ot"):
        open_checkpoint(str(base), extra_heads=str(other))
    larger: Json = TEXT_ONLY | HEADS | {"num_layers": 3}
    other = write_folder(tmp_path / "larger", larger)
    with pytest.raises(ModelError, match=r"holds another model than .*: transformer.layers.2"):
        open_checkpoint(str(base), extra_heads=str(other))
    other = write_folder(tmp_path / "headless", TEXT_ONLY)
    with pytest.raises(ModelError, match=r"headless .* extra heads"):
        open_checkpoint(str(base), extra_heads=str(other))


def write_adapter(path: Path, value: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    adapter = {
        "text_linear.lora_A.weight": torch.full((2, 32), value),
        "text_linear.lora_B.weight": torch.ones(20, 2),
    }
    save_file(adapter, path)
    return path


def moved(folder: Path, **options: str) -> float:
    """By how much every entry of `text_linear` was moved."""
    lm = open_checkpoint(str(folder), **options).lm
    assert lm is not None
    change = lm.read("text_linear.weight") - random_lm(TEXT_ONLY)["text_linear.weight"].numpy()
    return round(float(change.mean()), 4)


def test_an_adapter_that_the_repository_names_is_merged(tmp_path):
    values = TEXT_ONLY | {"lora": True, "lora_name": "lora.safetensors", "lora_scaling": 3.0}
    folder = write_folder(tmp_path, values)
    write_adapter(folder / "lora.safetensors")
    assert moved(folder) == 3.0


def test_an_adapter_given_by_hand_brings_its_own_scaling(tmp_path):
    folder = write_folder(tmp_path / "base", TEXT_ONLY)
    adapter = write_adapter(tmp_path / "tuned" / "lora.safetensors")
    assert moved(folder, lora=str(adapter)) == 2.0
    (tmp_path / "tuned" / "config.json").write_text('{"lora": true, "lora_scaling": 5}')
    assert moved(folder, lora=str(adapter)) == 5.0
    used = open_checkpoint(str(folder), lora=str(adapter)).repository.files_used
    assert "lora.safetensors" in used


def test_an_adapter_may_be_a_file_of_the_repository(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY)
    write_adapter(folder / "adapters" / "lora.safetensors")
    assert moved(folder, lora="adapters/lora.safetensors") == 2.0
    with pytest.raises(ModelError, match=r"has no file absent.safetensors"):
        moved(folder, lora="absent.safetensors")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"lora": True}, "sets lora without a lora_name"),
        ({"lora_name": "lora.safetensors"}, "names an adapter, lora.safetensors, but sets lora"),
    ],
)
def test_a_configuration_that_contradicts_itself_about_lora_is_refused(tmp_path, keys, complaint):
    write_adapter(write_folder(tmp_path, TEXT_ONLY | keys) / "lora.safetensors")
    with pytest.raises(ModelError, match=complaint):
        open_checkpoint(str(tmp_path))


def test_a_quantised_model_takes_no_adapter(tmp_path):
    folder = write_folder(tmp_path, TEXT_ONLY | {"quantize": True})
    adapter = write_adapter(folder / "lora.safetensors")
    with pytest.raises(ModelError, match=r"is quantised, .*LoRA"):
        open_checkpoint(str(folder), lora=str(adapter))


def test_hibiki_reads_the_end_of_text_as_padding(tmp_path):
    values = MOSHI | {"model_type": "hibiki"}
    checkpoint = open_checkpoint(str(write_folder(tmp_path, values)))
    state = random_lm(values)
    assert checkpoint.lm is not None
    expected = state["text_emb.weight"].clone()
    expected[2] = expected[3]
    assert np.array_equal(checkpoint.lm.read("text_emb.weight"), expected)
    depth = "depformer_text_emb.weight"
    assert np.array_equal(checkpoint.lm.read(depth), state[depth])
    assert not np.array_equal(expected, state["text_emb.weight"])


def test_other_families_keep_the_end_of_text(tmp_path):
    checkpoint = open_checkpoint(str(write_folder(tmp_path, MOSHI)))
    assert checkpoint.lm is not None
    expected = random_lm(MOSHI)["text_emb.weight"]
    assert np.array_equal(checkpoint.lm.read("text_emb.weight"), expected)


def test_transformers_codec_opens_as_mimi(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TRANSFORMERS_MIMI))
    state = random_mimi()
    save_file(stored(transformers_mimi(state, heads=2)), tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(str(tmp_path))
    assert (checkpoint.family, checkpoint.lm, checkpoint.tokenizer) == ("mimi", None, None)
    assert checkpoint.config.mimi_codebooks == 6
    assert all(np.array_equal(checkpoint.mimi.read(name), t) for name, t in state.items())
    with pytest.raises(UsageError, match=r"codec alone: .*LoRA"):
        open_checkpoint(str(tmp_path), lora="lora.safetensors")


def write_transformers_stt(folder: Path, **keys: object) -> Path:
    (folder / "config.json").write_text(json.dumps(TRANSFORMERS_STT | keys))
    delays = {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0}
    (folder / "preprocessor_config.json").write_text(json.dumps(delays))
    state = transformers_stt(random_lm(TEXT_ONLY), random_mimi(), 4, 2, n_q=3)
    save_file(stored(state), folder / "model.safetensors")
    return folder


def test_transformers_speech_to_text_opens_with_its_codec(tmp_path):
    folder = write_transformers_stt(tmp_path, tokenizer_name="tokenizer.model")
    shutil.copyfile(TOKENIZER, folder / "tokenizer.model")
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.family == "stt"
    assert checkpoint.config.stt.audio_delay_seconds == 2.5
    assert checkpoint.config.stt.audio_silence_prefix_seconds == 1.0
    assert checkpoint.lm is not None
    for name, tensor in random_lm(TEXT_ONLY).items():
        assert np.array_equal(checkpoint.lm.read(name), tensor)
    assert all(np.array_equal(checkpoint.mimi.read(name), t) for name, t in random_mimi().items())


def test_a_speech_to_text_without_its_tokenizer_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="no SentencePiece model: "):
        open_checkpoint(str(write_transformers_stt(tmp_path)))


def test_opening_reads_no_weights(tmp_path, monkeypatch):
    reads: list[object] = []
    monkeypatch.setattr(SafetensorsFile, "read", lambda _, *wanted: reads.append(wanted))
    values = SPEAKING | {"lora": True, "lora_name": "lora.safetensors", "model_type": "hibiki"}
    write_adapter(write_folder(tmp_path, values) / "lora.safetensors")
    open_checkpoint(str(tmp_path))
    assert reads == []


PERSONAPLEX: Json = MOSHI | {
    "card": 2048,
    "n_q": 16,
    "dep_q": 16,
    "delays": [0, *[0, 1, 1, 1, 1, 1, 1, 1] * 2],
}
OWN: Json = PERSONAPLEX | {"dep_q": 8}


@pytest.mark.parametrize("dep_q", [8, 16])
def test_personaplex_opens_as_the_moshi_of_its_own_side(tmp_path, dep_q):
    state = random_lm(PERSONAPLEX)
    checkpoint = open_checkpoint(
        str(write_folder(tmp_path, PERSONAPLEX | {"dep_q": dep_q}, fused(state)))
    )
    plain = open_checkpoint(str(write_folder(tmp_path / "own", OWN)))
    assert checkpoint.config.takes_prompt
    assert not plain.config.takes_prompt
    assert checkpoint.config.lm == plain.config.lm
    assert (checkpoint.family, checkpoint.config.mimi_codebooks) == ("moshi", 8)
    assert checkpoint.lm is not None
    expected = lm_shapes(lm_config(OWN))
    assert dict(checkpoint.lm.shapes()) == expected
    assert all(np.array_equal(checkpoint.lm.read(name), state[name]) for name in expected)


def test_personaplex_with_the_models_own_steps_alone_is_known_by_its_configuration(tmp_path):
    values = OWN | {"model_type": "personaplex"}
    checkpoint = open_checkpoint(str(write_folder(tmp_path, values, fused(random_lm(OWN)))))
    assert checkpoint.config.takes_prompt
    assert checkpoint.family == "moshi"


@pytest.mark.parametrize("values", [{}, {"version": "7b-v1"}, {"model_type": "personaplex"}])
def test_personaplex_may_have_a_configuration_without_dimensions(tmp_path, monkeypatch, values):
    own = RepositoryConfig.from_json(OWN)
    monkeypatch.setattr(RepositoryConfig, "legacy", staticmethod(lambda: own))
    folder = write_folder(tmp_path, OWN, fused(random_lm(PERSONAPLEX)))
    (folder / "config.json").write_text(json.dumps(values))
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.config.takes_prompt
    assert checkpoint.config.lm == own.lm


def test_sides_with_other_delays_are_not_personaplex(tmp_path):
    values = PERSONAPLEX | {"delays": [0, *[0, 1, 1, 1, 1, 1, 1, 1], *[0, 2, 2, 2, 2, 2, 2, 2]]}
    checkpoint = open_checkpoint(str(write_folder(tmp_path, values)))
    assert not checkpoint.config.takes_prompt
    assert checkpoint.config.lm == lm_config(values)
