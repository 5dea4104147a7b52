"""A bundle's files: each is found right before it is used, and named where it is not."""

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx.parser
import pytest
from support.bundles import copy_demo
from support.toy_codec import Toy, entry, read_manifest, serialized, write_manifest

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.runtime.bundle import bundle as bundles
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.cache_folder import cache_folder
from kyutai_onnx.runtime.errors import KyutaiOnnxError, ModelError
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Toy().write(tmp_path / "bundle")


def reported(action: Callable[[], object]) -> str:
    """The one line of the ModelError that an action raises."""
    with pytest.raises(ModelError) as refused:
        action()
    assert refused.value.exit_code == 3
    line = str(refused.value)
    assert "\n" not in line
    return line


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Changes a file and what the manifest says of it."""
    (folder / name).write_bytes(content)
    manifest = read_manifest(folder)
    manifest["files"][name] = entry(content)
    write_manifest(folder, manifest)


def open_toy(folder: Path) -> Graph:
    return Graph(Bundle.open(folder), "toy", PROVIDERS["cpu"], 1)


def test_a_folder_that_is_not_there_or_holds_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "none: no such folder" in reported(lambda: Bundle.open(tmp_path / "none"))
    assert "no bundle.json here; make a bundle" in reported(lambda: Bundle.open(tmp_path))


def test_a_truncated_file_is_refused(folder: Path) -> None:
    content = (folder / "toy.onnx").read_bytes()
    (folder / "toy.onnx").write_bytes(content[:100])
    line = reported(lambda: Bundle.open(folder))
    assert f"toy.onnx: 100 bytes, {len(content)} expected; export or download" in line


def test_a_flipped_byte_is_refused(folder: Path) -> None:
    content = bytearray((folder / "toy.onnx").read_bytes())
    content[50] ^= 1
    (folder / "toy.onnx").write_bytes(content)
    assert "toy.onnx: its content " in reported(lambda: Bundle.open(folder))


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "toy.onnx").unlink()
    assert "toy.onnx: missing from the bundle" in reported(lambda: Bundle.open(folder))


def test_a_file_that_may_not_be_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert "toy.onnx: cannot be read" in reported(lambda: Bundle.open(folder))


def test_a_missing_tokenizer_or_data_file_of_the_demo_is_refused(tmp_path: Path) -> None:
    folder = copy_demo(tmp_path / "bundle")
    for name in ("tokenizer.model", "temporal_transformer.data"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"{name}: missing" in reported(lambda: SpeechToText.load(folder))
        (folder / name).write_bytes(content)
    assert SpeechToText.load(folder).has_pauses


@pytest.mark.parametrize("content", [b"", b"a text, no graph", b"\x08\x0a"])
def test_a_graph_that_is_none_is_refused(content: bytes, folder: Path) -> None:
    replace_file(folder, "toy.onnx", content)
    assert "toy.onnx: onnxruntime cannot read it (" in reported(lambda: open_toy(folder))


def test_half_a_graph_is_refused(folder: Path) -> None:
    replace_file(folder, "toy.onnx", (folder / "toy.onnx").read_bytes()[:500])
    assert "toy.onnx: onnxruntime cannot read it (" in reported(lambda: open_toy(folder))


def test_a_graph_of_operators_that_do_not_exist_is_refused(folder: Path) -> None:
    model = Toy().model()
    model.graph.node[0].op_type = "Reform"
    replace_file(folder, "toy.onnx", serialized(model))
    assert "Reform" in reported(lambda: open_toy(folder))


def test_weights_that_lie_outside_their_file_are_refused(tmp_path: Path) -> None:
    folder = copy_demo(tmp_path / "bundle")
    data = (folder / "mimi_encoder.data").read_bytes()
    replace_file(folder, "mimi_encoder.data", data[:1000])
    bundle = Bundle.open(folder)
    line = reported(lambda: Graph(bundle, "mimi_encoder", PROVIDERS["cpu"], 1))
    assert "mimi_encoder.onnx: onnxruntime cannot read it (" in line


OTHER_GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
other (float[batch, 1, width] pcm) => (float[batch, 1, width] codes) { codes = Exp(pcm) }
"""


def test_another_graph_than_the_manifest_describes_is_refused(folder: Path) -> None:
    replace_file(folder, "toy.onnx", serialized(onnx.parser.parse_model(OTHER_GRAPH)))
    assert "toy.onnx: the input active" in reported(lambda: open_toy(folder))


@pytest.mark.parametrize(
    ("kind", "index", "change", "line"),
    [
        ("states", 1, {"input": "sum"}, "the input sum"),
        ("states", 1, {"output": "sum"}, "the output sum"),
        ("inputs", 0, {"dtype": "int64"}, "the input pcm is float32 ['batch', 1, 'width'], where"),
        ("inputs", 0, {"shape": ["batch", 1]}, "where bundle.json has float32 ['batch', 1];"),
        ("states", 1, {"shape": ["batch", 3]}, "the input total is float32 ['batch', 2], where"),
        ("states", 1, {"dtype": "float16"}, "where bundle.json has float16 ['batch', 2]; export"),
        ("outputs", 0, {"shape": ["batch", 8]}, "the output codes is int64 ['batch', 2], where"),
    ],
)
def test_a_port_that_is_not_the_graph_s_is_refused(
    kind: str, index: int, change: dict[str, object], line: str, folder: Path
) -> None:
    manifest = read_manifest(folder)
    manifest["graphs"]["toy"][kind][index].update(change)
    write_manifest(folder, manifest)
    assert line in reported(lambda: open_toy(folder))


def test_a_state_that_the_manifest_leaves_out_is_reported(folder: Path) -> None:
    manifest = read_manifest(folder)
    del manifest["graphs"]["toy"]["states"][1]
    write_manifest(folder, manifest)
    assert "the input total" in reported(lambda: open_toy(folder))


def test_an_older_onnxruntime_is_refused(folder: Path) -> None:
    manifest = read_manifest(folder)
    manifest["minimum_onnxruntime"] = "99.1"
    write_manifest(folder, manifest)
    assert "needs onnxruntime 99.1, " in reported(lambda: open_toy(folder))


class Hashed:
    """Counts how often a file's content is read to be hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._sha256 = bundles.sha256
        monkeypatch.setattr(bundles, "sha256", self)

    def __call__(self, file: Path) -> str:
        self.names.append(file.name)
        return self._sha256(file)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hashed:
    """With it every file is large, and the cache empty."""
    monkeypatch.setattr(bundles, "LARGE", 0)
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "cache"))
    return Hashed(monkeypatch)


def test_a_large_file_is_hashed_once(folder: Path, hashed: Hashed) -> None:
    for _ in range(3):
        Bundle.open(folder)
    assert hashed.names == ["toy.onnx"]


def test_a_large_file_is_hashed_again_once_it_changed(folder: Path, hashed: Hashed) -> None:
    Bundle.open(folder)
    content = bytearray((folder / "toy.onnx").read_bytes())
    content[50] ^= 1
    (folder / "toy.onnx").write_bytes(content)
    for _ in range(2):
        assert " hash" in reported(lambda: Bundle.open(folder))
    assert hashed.names == ["toy.onnx"] * 3


def test_a_large_file_is_hashed_again_for_another_hash(folder: Path, hashed: Hashed) -> None:
    Bundle.open(folder)
    manifest = read_manifest(folder)
    manifest["files"]["toy.onnx"]["sha256"] = "0" * 64
    write_manifest(folder, manifest)
    assert " hash" in reported(lambda: Bundle.open(folder))


def test_a_small_file_is_hashed_each_time(
    folder: Path, hashed: Hashed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "LARGE", 1 << 20)
    for _ in range(2):
        Bundle.open(folder)
    assert hashed.names == ["toy.onnx"] * 2
    assert not cache_folder().exists()


@pytest.mark.parametrize("content", ["", "[1]", "3", "{", '{"a": 1}'])
def test_a_damaged_cache_is_restarted(content: str, folder: Path, hashed: Hashed) -> None:
    cache_folder().mkdir()
    (cache_folder() / "verified.json").write_text(content)
    for _ in range(2):
        Bundle.open(folder)
    assert hashed.names == ["toy.onnx"]


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, hashed: Hashed) -> None:
    cache_folder().write_text("a file where the folder would be")
    for _ in range(2):
        assert Bundle.open(folder).manifest.name == "toy"
    assert hashed.names == ["toy.onnx"] * 2


def test_bundles_of_the_same_weights_have_one_identity(tmp_path: Path) -> None:
    one, two = (Toy(native=n).write(tmp_path / str(n)) for n in (True, False))
    assert Bundle.open(one).identity == Bundle.open(two).identity
    manifest = read_manifest(two)
    manifest["source"]["files"] = {"model.safetensors": entry(b"other weights")}
    write_manifest(two, manifest)
    assert Bundle.open(one).identity != Bundle.open(two).identity


def test_without_a_home_a_bundle_opens_and_nothing_is_remembered(
    folder: Path, hashed: Hashed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KYUTAI_ONNX_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", staticmethod(homeless))
    for _ in range(2):
        assert Bundle.open(folder).manifest.name == "toy"
    assert hashed.names == ["toy.onnx"] * 2
    with pytest.raises(KyutaiOnnxError, match="KYUTAI_ONNX_CACHE"):
        cache_folder()
