import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from safetensors.torch import save_file

from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory, PickleFile
from kyutai_onnx.conversion.checkpoint.safetensors_file import (
    RemoteSafetensors,
    SafetensorsFile,
    SafetensorsShards,
)
from kyutai_onnx.conversion.checkpoint.tensor_views import (
    Overlay,
    Piece,
    Renamed,
    TensorAssembly,
    check_tensors,
    renamed,
    whole,
)
from kyutai_onnx.runtime.errors import ModelError

TABLE = torch.arange(24, dtype=torch.float32).reshape(6, 4)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {
        "half": TABLE.to(torch.bfloat16) / 3,
        "float": TABLE,
        "codes": torch.arange(6, dtype=torch.int32),
    }
    save_file(tensors, path)
    return path


def test_a_safetensors_file_reports_shapes_and_types_before_it_is_read(stored):
    tensors = SafetensorsFile(stored)
    assert tensors.shapes() == {"half": (6, 4), "float": (6, 4), "codes": (6,)}
    assert tensors.dtype("half") == "BF16"
    assert tensors.dtype("codes") == "I32"


def test_floats_come_as_float32_exactly_and_integers_as_they_are(stored):
    tensors = SafetensorsFile(stored)
    half = tensors.read("half")
    assert half.dtype == np.float32
    assert np.array_equal(half, (TABLE.to(torch.bfloat16) / 3).float())
    assert tensors.read("codes").dtype == np.int32


@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 3), slice(4, None), slice(6, 6)])
def test_rows_can_be_read_alone(stored, rows):
    assert np.array_equal(SafetensorsFile(stored).read("float", rows), TABLE[rows])
    assert np.array_equal(InMemory({"float": TABLE}).read("float", rows), TABLE[rows])


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_file_cut_short_is_named_in_one_line(stored, cut):
    whole_file = stored.read_bytes()
    stored.write_bytes(whole_file[:cut])
    with pytest.raises(ModelError, match=r"model.safetensors is not a whole ") as error:
        SafetensorsFile(stored)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [-4, 92]},
        {"data_offsets": [0, 92]},
        {"data_offsets": [4, 100]},
        {"data_offsets": [0]},
        {"data_offsets": ["0", "96"]},
        {"shape": [6, 5]},
        {"shape": [True, 24]},
        {"dtype": "F16"},
        {"dtype": ["F32"]},
    ],
)
def test_a_header_on_the_hub_that_lies_is_found_before_the_file_is_downloaded(change):
    def file(entry: object, data: int = 96) -> SimpleNamespace:
        header = json.dumps({"table": entry}).encode()
        content = len(header).to_bytes(8, "little") + header + bytes(data)
        return SimpleNamespace(
            name="x", repo="me/x", size=len(content), read=lambda start, stop: content[start:stop]
        )

    whole = {"dtype": "F32", "shape": [6, 4], "data_offsets": [0, 96]}
    assert RemoteSafetensors(file(whole)).shapes() == {"table": (6, 4)}
    for lying in (file(whole | change), file(whole, 95), file(whole, 97), file([])):
        with pytest.raises(ModelError, match="safetensors"):
            RemoteSafetensors(lying)


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"absent.safetensors"):
        SafetensorsFile(tmp_path / "absent.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_text("version https://git-lfs.github.com/spec/v1\n" * 4)
    with pytest.raises(ModelError, match=r"foreign.safetensors"):
        SafetensorsFile(foreign)


def write_shards(folder: Path, index: object) -> Path:
    save_file({"a": TABLE}, folder / "model-1.safetensors")
    save_file({"b": TABLE + 1}, folder / "model-2.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    return path


def test_shards_are_one_set(tmp_path):
    places = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    tensors = SafetensorsShards(write_shards(tmp_path, {"weight_map": places}))
    assert tensors.shapes() == {"a": (6, 4), "b": (6, 4)}
    assert tensors.dtype("b") == "F32"
    assert np.array_equal(tensors.read("b", slice(1, 2)), TABLE[1:2] + 1)


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ({"weight_map": {"c": "model-1.safetensors"}}, r"tensors .*: c"),
        ({"weight_map": {"a": "model-3.safetensors"}}, "model-3.safetensors"),
        ({"metadata": {}}, "not an index"),
        ([], "not an index"),
        ({"weight_map": {"a": "../model-1.safetensors"}}, "not beside it"),
        ({"weight_map": {"a": "hf://a/b/model-1.safetensors"}}, "not beside it"),
        ({"weight_map": []}, "not an index"),
        ({"weight_map": {"a": 1}}, "not an index"),
        ({"weight_map": {"a": ["one.safetensors"]}}, "not an index"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, index, complaint):
    with pytest.raises(ModelError, match=complaint):
        SafetensorsShards(write_shards(tmp_path, index))


@pytest.mark.parametrize("container", [("fsdp_best_state", "model"), ("model",), ()])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_is_read_without_running_it(tmp_path, container, zipped):
    package: object = {"a": TABLE.to(torch.bfloat16)}
    for key in reversed(container):
        package = {key: package, "epoch": 3}
    path = tmp_path / "checkpoint.th"
    torch.save(package, path, _use_new_zipfile_serialization=zipped)
    tensors = PickleFile(path)
    assert tensors.shapes() == {"a": (6, 4)}
    assert tensors.dtype("a") == "BF16"
    assert np.array_equal(tensors.read("a"), TABLE)


class Dangerous:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.th"
    torch.save({"model": Dangerous()}, path)
    with pytest.raises(ModelError, match="PyTorch checkpoint") as error:
        PickleFile(path)
    assert "\n" not in str(error.value)
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", bytes(range(256))])
def test_a_damaged_pickle_is_refused(tmp_path, content):
    path = tmp_path / "model.th"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model.th cannot be read"):
        PickleFile(path)


@pytest.mark.parametrize("package", [[1, 2], {"epoch": 3}, {"model": {"a": 1}}])
def test_a_pickle_without_tensors_is_refused(tmp_path, package):
    path = tmp_path / "model.th"
    torch.save(package, path)
    with pytest.raises(ModelError, match="holds no named tensors"):
        PickleFile(path)


class Counting(InMemory):
    """Notes what was read."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.reads: list[tuple[str, slice | None]] = []

    def read(self, name, rows=None):
        self.reads.append((name, rows))
        return super().read(name, rows)


def test_a_view_reads_its_pieces_when_it_is_read():
    source = Counting({"table": TABLE, "other": TABLE + 100})
    rows = slice(2, 4)
    view = Renamed(
        source,
        {
            "part": TensorAssembly((Piece("table", rows),), (2, 4)),
            "joined": TensorAssembly((Piece("table"), Piece("other", rows)), (8, 4)),
            "flat": TensorAssembly((Piece("other"),), (24,)),
            "twice": TensorAssembly((Piece("table"),), (6, 4), lambda parts: parts[0] * 2),
        },
    )
    assert view.shapes()["joined"] == (8, 4)
    assert source.reads == []
    assert np.array_equal(view.read("part"), TABLE[2:4])
    assert source.reads == [("table", rows)]
    assert np.array_equal(view.read("joined"), torch.cat([TABLE, TABLE[2:4] + 100]))
    assert np.array_equal(view.read("flat"), TABLE.flatten() + 100)
    assert np.array_equal(view.read("twice", slice(1, 2)), TABLE[1:2] * 2)


def test_rows_of_a_tensor_that_is_only_renamed_are_read_alone():
    source, rows = Counting({"table": TABLE}), slice(1, 3)
    assemblies = {
        "renamed": whole(source, "table"),
        "part": TensorAssembly((Piece("table", slice(2, 6)),), (4, 4)),
        "flat": TensorAssembly((Piece("table"),), (24,)),
    }
    view = Renamed(source, assemblies)
    assert np.array_equal(view.read("renamed", rows), TABLE[1:3])
    assert source.reads == [("table", rows)]
    assert np.array_equal(view.read("part", rows), TABLE[3:5])
    assert np.array_equal(view.read("flat", rows), TABLE.flatten()[1:3])


def test_a_renaming_leaves_out_what_has_no_name_and_refuses_clashes():
    source = InMemory({"a.old": TABLE, "b": TABLE})
    view = renamed(source, lambda name: name.removesuffix(".old") if "a" in name else None)
    assert dict(view.shapes()) == {"a": (6, 4)}
    with pytest.raises(ModelError, match=r"a.old and b .* c"):
        renamed(source, lambda name: "c")


def test_the_upper_set_of_an_overlay_counts():
    both = Overlay(InMemory({"a": TABLE, "b": TABLE}), InMemory({"b": TABLE.half()[:2]}))
    assert dict(both.shapes()) == {"a": (6, 4), "b": (2, 4)}
    assert (both.dtype("a"), both.dtype("b")) == ("F32", "F16")
    assert np.array_equal(both.read("b", slice(1, None)), TABLE[1:2])


def test_a_whole_tensor_keeps_its_type():
    view = Renamed(InMemory({"a": TABLE.half()}), {"b": whole(InMemory({"a": TABLE}), "a")})
    assert view.dtype("b") == "F16"


def test_tensors_that_fit_pass_with_alphas_of_either_shape():
    tensors = InMemory({"norm1.alpha": torch.ones(1, 1, 4), "weight": TABLE})
    check_tensors({"norm1.alpha": (4,), "weight": (6, 4)}, tensors, "the model")


def test_all_misfits_are_reported_in_one_message():
    expected = {f"layers.{i}.weight": (4,) for i in range(9)} | {"table": (4, 6)}
    tensors = InMemory({"table": TABLE, "spare": TABLE, "layers.0.weight": torch.ones(4)})
    with pytest.raises(ModelError) as error:
        check_tensors(expected, tensors, "the model")
    message = str(error.value)
    assert "8 missing (layers.1." in message
    assert "layers.4.weight, ...)" in message
    assert "1 unexpected (spare)" in message
    assert "1 misshapen (table [6, 4] instead of [4, 6])" in message
    assert "\n" not in message
