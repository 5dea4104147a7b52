"""The demo's checkpoint in Kyutai's own loader, beside the bundle that ships."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.npz import arrays
from support.parity.inference import run_inference
from support.paths import ROOT
from support.shared import Shared
from support.speech import whole

from kyutai_onnx.cli.main import run
from kyutai_onnx.conversion.checkpoint.config import SttConfig
from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.models.resolve import DEMO

CHECKPOINT = ROOT / "training" / "stt-demo-en"


SAMPLES = DEMO / "samples"
ENTRIES = [json.loads(line) for line in (SAMPLES / "manifest.jsonl").read_text().splitlines()]

Transcribe = Callable[[Path], tuple[list[int], np.ndarray]]


@pytest.fixture(scope="module")
def transcribe() -> Transcribe:
    """Text tokens and codes of a recording, by `moshi` alone: its loaders and its loop."""
    from moshi.models.loaders import CheckpointInfo

    config = json.loads((CHECKPOINT / "config.json").read_text())
    info = CheckpointInfo.from_hf_repo(
        "local",
        moshi_weights=CHECKPOINT / config["moshi_name"],
        mimi_weights=CHECKPOINT / config["mimi_name"],
        tokenizer=CHECKPOINT / config["tokenizer_name"],
        config_path=CHECKPOINT / "config.json",
        mimi_config_path=CHECKPOINT / config["mimi_config_name"],
    )
    mimi, lm = info.get_mimi(), info.get_moshi(dtype=torch.float32)
    stt = SttConfig(**config["stt_config"])
    return lambda path: run_inference(mimi, lm, stt, whole(path))


@pytest.fixture(scope="module")
def exact(shared: Shared) -> Path:
    """The checkpoint exported in fp32."""
    request = Request(str(CHECKPOINT), precision="fp32")
    return shared.once("demo-fp32", lambda out: export_bundle(replace(request, out=out)))


@pytest.mark.parametrize("audio", [entry["audio"] for entry in ENTRIES])
def test_the_reference_transcribes_what_a_bundle_in_fp32_does(
    audio: str, transcribe: Transcribe, exact: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "dump.npz"
    command = ["transcribe", str(SAMPLES / audio), "--model", str(exact)]
    assert run([*command, "--dump-tokens", str(dump)]) == 0
    tokens, codes = transcribe(SAMPLES / audio)
    assert arrays(dump)["codes"].tolist() == codes.tolist()
    assert arrays(dump)["text"].tolist() == tokens


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["audio"] for entry in ENTRIES])
def test_the_bundle_that_ships_gives_the_same_codes_and_the_right_words(
    entry: dict[str, str],
    transcribe: Transcribe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dump = tmp_path / "dump.npz"
    assert run(["transcribe", str(SAMPLES / entry["audio"]), "--dump-tokens", str(dump)]) == 0
    assert capsys.readouterr().out.strip() == entry["text"]
    _, codes = transcribe(SAMPLES / entry["audio"])
    assert arrays(dump)["codes"].tolist() == codes.tolist()


def test_the_bundle_that_ships_was_made_from_the_checkpoint() -> None:
    command = ["verify", str(DEMO / "stt"), "--repo", str(CHECKPOINT), "--quiet"]
    assert run([*command, "--audio", str(SAMPLES / "train.flac")]) == 0
