"""The command line against the reference's own loop over a file, and `verify` as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from safetensors.torch import load_file, save_file
from support.npz import arrays
from support.parity.fixtures import Bundles, Checkpoints
from support.parity.inference import run_inference
from support.parity.variants import LMS
from support.voices import voices

from kyutai_onnx.cli.main import run
from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.export.verification.reference import reference_lm, reference_mimi

RATE = 24000


@pytest.mark.parametrize("lm", ["stt", "sinusoidal"])
def test_dumped_tokens_are_those_of_the_references_loop(
    lm: str, checkpoint: Checkpoints, bundle: Bundles, tmp_path: Path
) -> None:
    pcm = voices(1, 6 * RATE + 700, RATE, seed=4)[0]
    soundfile.write(tmp_path / "a.wav", pcm, RATE, subtype="FLOAT")
    arguments = ["--model", str(bundle("mimi", lm).path), "--dump-tokens", str(tmp_path / "a.npz")]
    assert run(["transcribe", str(tmp_path / "a.wav"), *arguments]) == 0
    dumped = arrays(tmp_path / "a.npz")
    reference = open_checkpoint(str(checkpoint("mimi", lm)))
    mimi, model = reference_mimi(reference, 8), reference_lm(reference)
    tokens, codes = run_inference(mimi, model, reference.config.stt, pcm)
    assert dumped["codes"].tolist() == codes.tolist()
    assert dumped["text"].tolist() == tokens
    assert dumped["audio"].size == 0
    assert len(set(tokens)) >= 20


def test_verify_reports_agreement(
    checkpoint: Checkpoints, bundle: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = bundle("mimi", "stt"), checkpoint("mimi", "stt")
    assert run(["verify", str(made.path), "--repo", str(folder), "--frames", "60"]) == 0
    reported = capsys.readouterr().out
    assert "codes         100.000 % of 480" in reported
    assert "text tokens   100.000 % of 61" in reported


def test_verify_lets_a_codec_of_eight_bits_differ(
    checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, made = str(checkpoint("mimi", "stt")), str(tmp_path / "made")
    asked = ["export", "--repo", folder, "--out", made, "--precision", "fp32", "--decoder"]
    assert run([*asked, "--codec-precision", "int8"]) == 0
    assert run(["verify", made, "--repo", folder, "--frames", "20"]) == 0
    assert "codes         100.000 %" not in capsys.readouterr().out


def test_verify_refuses_other_weights(
    checkpoint: Checkpoints, bundle: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint("mimi", "both"), other)
    config = LMS["stt"] | json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config))
    made = bundle("mimi", "stt")
    assert run(["verify", str(made.path), "--repo", str(other), "--frames", "20"]) == 6
    assert "is not what" in capsys.readouterr().err


@pytest.mark.parametrize("lm", ["moshi", "hibiki", "hibiki-zero", "tts", "tts-prefix"])
def test_verify_reports_agreement_of_models_that_speak(
    lm: str, checkpoint: Checkpoints, bundle: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = bundle("light", lm, decoder=False), checkpoint("light", lm)
    assert run(["verify", str(made.path), "--repo", str(folder), "--frames", "40"]) == 0
    reported = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert reported["text"].startswith("tokens   100.000 % of 4")
    assert reported["made"].startswith("codes    100.000 % of ")
    assert "of 0 " not in reported["made"], "hollow: no codes were made"
    assert reported.get("guidance") == {"hibiki": "3", "tts-prefix": "2"}.get(lm)


def test_verify_reports_agreement_of_another_flavour(
    checkpoint: Checkpoints, bundle: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bundle("light", "tts", target="directml", decoder=False)
    command = ["verify", str(made.path), "--repo", str(checkpoint("light", "tts"))]
    assert run([*command, "--frames", "40", "--provider", "cpu", "--allow-fallback"]) == 0
    assert "made codes    100.000 % of " in capsys.readouterr().out


def test_verify_refuses_other_weights_of_the_depth_transformer(
    checkpoint: Checkpoints, bundle: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint("light", "moshi"), other)
    weights = load_file(other / "model.safetensors")
    weights["linears.1.weight"] = weights["linears.1.weight"].roll(1, 0)
    save_file(weights, other / "model.safetensors")
    made = bundle("light", "moshi", decoder=False)
    assert run(["verify", str(made.path), "--repo", str(other), "--frames", "20"]) == 6
    said = capsys.readouterr()
    assert "made codes differ" in said.err
    assert "text tokens   100.000 %" in said.out


def test_an_export_through_the_command_line_transcribes(
    checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "bundle", checkpoint("mimi", "one-layer")
    assert run(["export", "--repo", str(folder), "--out", str(out), "--precision", "int4"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert run(["export", "--repo", str(folder), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["info", str(out)]) == 0
    assert "int4" in capsys.readouterr().out
    soundfile.write(tmp_path / "a.wav", voices(1, RATE, RATE)[0], RATE)
    assert run(["transcribe", str(tmp_path / "a.wav"), "--model", str(out)]) == 0
    wav, codes = str(tmp_path / "a.wav"), str(tmp_path / "a.npz")
    assert run(["codec", "encode", wav, codes, "--model", str(out)]) == 0
    assert run(["codec", "decode", codes, wav, "--model", str(out)]) == 2
    assert "no decoder" in capsys.readouterr().err
