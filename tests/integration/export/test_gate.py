"""The quality gate of `export`: a bundle must transcribe as its checkpoint does in fp32."""

import shutil
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("torch", reason="the export needs torch")

import torch
from safetensors.torch import load_file, save_file
from support.commands import Command
from support.shared import Shared
from support.speech import Array

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.export.verification.quality_gate import Verdict, judge
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.bundle.manifest import Precision

DEMO = ROOT / "training" / "stt-demo-en"
WEIGHTS = "model.safetensors"


def export(repo: Path, out: Path, precision: Precision) -> Path:
    return export_bundle(Request(str(repo), out, precision=precision))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with as much noise on every weight as there is weight: it finds other words."""
    folder = tmp_path_factory.mktemp("other") / "stt-demo-en"
    shutil.copytree(DEMO, folder)
    noise = torch.Generator().manual_seed(0)
    state = {
        name: (
            tensor + tensor.std() * torch.randn(tensor.shape, generator=noise).to(tensor.dtype)
            if tensor.ndim > 1
            else tensor
        )
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    save_file(state, folder / WEIGHTS)
    return folder


def test_a_bundle_in_fp32_differs_in_nothing(pcm: Array, shared: Shared) -> None:
    bundle = Bundle.open(shared.once("demo-fp32", lambda out: export(DEMO, out, "fp32")))
    verdict = judge(bundle, open_checkpoint(str(DEMO)), [pcm, pcm[: len(pcm) // 2]])
    assert verdict.understands
    assert verdict.words > 8
    assert verdict.doubted == 0
    assert abs(verdict.divergence / verdict.steps) < 1e-9


def test_recordings_of_several_lengths_are_judged_as_each_alone(pcm: Array, tmp_path: Path) -> None:
    bundle = Bundle.open(export(DEMO, tmp_path / "bundle", "int4"))
    checkpoint = open_checkpoint(str(DEMO))
    recordings = [pcm, pcm[: len(pcm) // 3]]
    together = judge(bundle, checkpoint, recordings)
    alone = [judge(bundle, checkpoint, [recording]) for recording in recordings]
    assert together.steps == sum(one.steps for one in alone)
    assert together.doubted == sum(one.doubted for one in alone)
    assert together.divergence == pytest.approx(sum(one.divergence for one in alone), rel=1e-3)
    assert together.divergence > 0


def test_a_bundle_of_other_weights_does_not_pass(pcm: Array, other: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(export(other, tmp_path / "bundle", "fp32"))
    verdict = judge(bundle, open_checkpoint(str(DEMO)), [pcm])
    assert not verdict.passes
    assert "words differ from fp32" in str(verdict)


def test_one_word_in_a_few_may_be_another_and_three_in_a_hundred() -> None:
    assert Verdict(words=10, doubted=1, steps=100).passes
    assert not Verdict(words=10, doubted=2, steps=100).passes
    assert Verdict(words=200, doubted=6, steps=2000).passes
    assert not Verdict(words=200, doubted=7, steps=2000).passes
    assert not Verdict(words=200, steps=2000, divergence=21.0).passes


def test_export_reports_the_quality_of_a_bundle(command: Command, tmp_path: Path) -> None:
    reported = command(
        "export", "--repo", DEMO, "--out", tmp_path / "bundle", "--precision", "int4"
    )
    assert reported.code == 0
    assert "words differ from fp32" in reported.err
    assert reported.out == f"{tmp_path / 'bundle'}\n"


def test_what_fails_the_gate_is_kept_and_exits_6(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kyutai_onnx.export.verification.quality_gate.MOST_DIVERGENCE", 1e-9)
    arguments = ["export", "--repo", DEMO, "--precision", "int4", "--out"]
    reported = command(*arguments, tmp_path / "bundle")
    assert reported.code == 6
    assert "'--no-gate'" in reported.err
    assert (tmp_path / "bundle" / "bundle.json").is_file()
    accepted = command(*arguments, tmp_path / "other", "--no-gate", "--quiet")
    assert (accepted.code, accepted.err) == (0, "")


def test_an_untrained_checkpoint_is_not_judged(command: Command, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "repo")
    state = load_file(tmp_path / "repo" / WEIGHTS)
    noise = torch.Generator().manual_seed(0)
    save_file(
        {
            name: torch.randn(value.shape, generator=noise).to(value.dtype) * value.std()
            for name, value in state.items()
        },
        tmp_path / "repo" / WEIGHTS,
    )
    reported = command("export", "--repo", tmp_path / "repo", "--out", tmp_path / "out")
    assert reported.code == 0
    assert "understand" in reported.err


def test_recordings_of_ones_own_are_read_before_the_export(
    command: Command, tmp_path: Path
) -> None:
    reported = command(
        "export", "--repo", DEMO, "--out", tmp_path / "out", "--gate-audio", tmp_path / "no.wav"
    )
    assert reported.code == 4
    assert not (tmp_path / "out").exists()


def test_only_what_transcribes_takes_recordings(
    command: Command, tmp_path: Path, speech: Path
) -> None:
    reported = command(
        "export",
        *("--repo", DEMO.parent / "tts-demo-en", "--out", tmp_path / "out"),
        *("--gate-audio", speech),
    )
    assert reported.code == 2
    assert "family tts" in reported.error
