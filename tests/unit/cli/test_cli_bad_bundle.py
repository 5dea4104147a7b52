"""A bundle that is damaged, of another family or for another provider is refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import copy_demo
from support.commands import Command

from kyutai_onnx.models.resolve import DEMO, VARIABLE


def without_tokenizer(folder: Path) -> str:
    (copy_demo(folder) / "tokenizer.model").unlink()
    return "tokenizer.model: missing"


def without_tokenizer_in_the_manifest(folder: Path) -> str:
    copy_demo(folder, lambda manifest: manifest.pop("tokenizer"))
    return "tokenizer: missing"


def without_language_model(folder: Path) -> str:
    copy_demo(folder, lambda manifest: manifest.pop("lm"))
    return "lm: missing"


def of_another_family(folder: Path) -> str:
    copy_demo(folder, lambda manifest: manifest.update(family="mimi"))
    return "model of mimi"


def with_a_cut_file(folder: Path) -> str:
    data = copy_demo(folder) / "temporal_transformer.data"
    data.write_bytes(data.read_bytes()[:1000])
    return "1000 bytes"


def with_a_changed_file(folder: Path) -> str:
    graph = copy_demo(folder) / "mimi_encoder.onnx"
    content = bytearray(graph.read_bytes())
    content[1000] ^= 1
    graph.write_bytes(content)
    return "does not match its hash"


def without_a_file(folder: Path) -> str:
    (copy_demo(folder) / "mimi_encoder.data").unlink()
    return "mimi_encoder.data: missing"


def with_half_a_manifest(folder: Path) -> str:
    manifest = copy_demo(folder) / "bundle.json"
    manifest.write_bytes(manifest.read_bytes()[:5000])
    return "not readable as JSON"


def with_another_document(folder: Path) -> str:
    (copy_demo(folder) / "bundle.json").write_text("[1, 2]")
    return "not a kyutai-onnx bundle"


def without_manifest(folder: Path) -> str:
    (copy_demo(folder) / "bundle.json").unlink()
    return "no bundle.json"


def of_the_future(folder: Path) -> str:
    copy_demo(folder, lambda manifest: manifest.update(format_version=99))
    return "format version 99"


def for_a_newer_runtime(folder: Path) -> str:
    copy_demo(folder, lambda manifest: manifest.update(minimum_onnxruntime="99.0"))
    return "needs onnxruntime 99.0"


def with_a_file_elsewhere(folder: Path) -> str:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"]["../outside"] = {"sha256": "0" * 64, "bytes": 1}

    copy_demo(folder, change)
    return "outside"


def nowhere(_: Path) -> str:
    return "no such folder"


DAMAGES = [
    without_tokenizer,
    without_tokenizer_in_the_manifest,
    without_language_model,
    of_another_family,
    with_a_cut_file,
    with_a_changed_file,
    without_a_file,
    with_half_a_manifest,
    with_another_document,
    without_manifest,
    of_the_future,
    for_a_newer_runtime,
    with_a_file_elsewhere,
    nowhere,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bundle_that_does_not_hold_is_refused(
    command: Command, speech: Path, tmp_path: Path, damage
) -> None:
    cause = damage(tmp_path / "bundle")
    done = command("transcribe", speech, "--model", tmp_path / "bundle")
    assert (done.code, done.out) == (3, "")
    assert str(tmp_path / "bundle") in done.error
    assert cause in done.error


@pytest.mark.parametrize(
    "arguments",
    [
        ("stream", "--input-file", "a.wav", "--model"),
        ("evaluate", "--model"),
        ("codec", "encode", "a.wav", "b.npz", "--model"),
        ("codec", "decode", "a.npz", "b.wav", "--model"),
        ("info",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_refuses_it(
    command: Command,
    speech: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(speech.read_bytes())
    np.savez(tmp_path / "a.npz", codes=np.zeros((8, 3), np.int64))
    cause = with_a_cut_file(tmp_path / "bundle")
    done = command(*arguments, tmp_path / "bundle")
    assert (done.code, done.out) == (3, "")
    assert cause in done.error


def test_the_environment_may_name_a_bundle_that_does_not_hold(
    command: Command, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    done = command("transcribe", speech)
    assert done.code == 3
    assert "nowhere" in done.error


def test_a_codec_needs_no_family_of_its_own(command: Command, speech: Path, tmp_path: Path) -> None:
    of_another_family(tmp_path / "bundle")
    asked = ("codec", "encode", speech, tmp_path / "a.npz", "--model", tmp_path / "bundle")
    assert command(*asked).code == 0


@pytest.mark.parametrize("provider", ["cuda", "directml", "coreml", "webgpu"])
@pytest.mark.parametrize("name", ["transcribe", "codec"])
def test_a_provider_that_is_not_there_is_refused(
    command: Command, speech: Path, tmp_path: Path, name: str, provider: str
) -> None:
    ways = {"transcribe": ("transcribe", speech), "codec": ("codec", "encode", speech, "a.npz")}
    done = command(*ways[name], "--provider", provider, "-q")
    assert (done.code, done.out) == (5, "")
    assert provider in done.error.lower()


@pytest.fixture
def for_cuda(tmp_path: Path) -> Path:
    return copy_demo(tmp_path / "cuda", lambda manifest: manifest.update(target="cuda"))


def test_a_bundle_for_another_provider_is_not_run_elsewhere_unasked(
    command: Command, speech: Path, for_cuda: Path
) -> None:
    asked = ("transcribe", speech, "--model", for_cuda, "--provider", "cpu")
    done = command(*asked)
    assert (done.code, done.out) == (5, "")
    assert "--allow-fallback" in done.error
    assert command(*asked, "--allow-fallback").out == command("transcribe", speech).out


def test_the_demo_on_its_own_provider_by_name(command: Command, speech: Path) -> None:
    target = json.loads((DEMO / "stt" / "bundle.json").read_text("utf-8"))["target"]
    assert command("transcribe", speech, "--provider", target, "--threads", 1).code == 0
