"""The benchmark of GPUs, end to end on the CPU with a tiny checkpoint."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.parity.fixtures import Checkpoints
from support.paths import ROOT

from benchmarks.cuda import sweep
from kyutai_onnx.runtime.providers.provider import PROVIDERS, available


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.cuda", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_measures_and_places_on_the_cpu(checkpoint: Checkpoints, tmp_path: Path) -> None:
    shutil.copytree(checkpoint("light", "stt"), tmp_path / "stt-1b-en_fr")
    reported = run(
        *("--work", tmp_path, "--provider", "cpu", "--only", "stt-1b-en_fr", "--no-peers"),
        *("--precision", "fp16", "--batches", 1, 2, "--frames", 4, "--out", tmp_path / "figures"),
    )
    assert (reported.returncode, reported.stderr) == (0, "")
    report = json.loads((tmp_path / "figures.json").read_text())
    (found,) = report["works"]
    assert [row["streams"] for row in found["engines"]] == [1, 2]
    for row in found["engines"]:
        assert row["engine"] == "kyutai-onnx fp16, cpu"
        assert set(row["parts_ms"]) == {"mimi_encoder", "temporal_transformer"}
        assert 0 < sum(row["parts_ms"].values()) < 2 * row["frame_ms"] <= 2 * row["p99_ms"]
        assert row["keeps_up"] == (row["p99_ms"] <= 80)
    encoder, temporal = found["placement"]["fp16"]
    assert (encoder["graph"], temporal["graph"]) == ("mimi_encoder", "temporal_transformer")
    for graph in (encoder, temporal):
        assert list(graph["nodes"]) == [graph["asked"]] == ["CPUExecutionProvider"]
        assert not graph["elsewhere"]
        assert graph["captured"] is False
    lines = reported.stdout.splitlines()
    assert (tmp_path / "figures.md").read_text() == reported.stdout
    assert sum(line.startswith("| kyutai-onnx fp16, cpu | ") for line in lines) == 2


@pytest.mark.skipif(available(PROVIDERS["cuda"]), reason="CUDA is here")
def test_without_cuda_it_says_so(tmp_path: Path) -> None:
    reported = run("--work", tmp_path / "work")
    assert reported.returncode == 5
    (line,) = reported.stderr.splitlines()
    assert line.startswith("error: cuda: CUDAExecutionProvider ")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 100, 400, 512])
@pytest.mark.parametrize("memory", [1, 4, 450, 10_000])
def test_it_finds_the_most_streams_that_keep_up(most: int, memory: int) -> None:
    tried: list[int] = []

    def measure(streams: int) -> dict[str, Any] | None:
        tried.append(streams)
        return None if streams > memory else {"streams": streams, "keeps_up": streams <= most}

    rows = list(sweep(measure, None))
    best = max((row["streams"] for row in rows if row["keeps_up"]), default=0)
    possible = min(most, memory)
    assert best <= possible <= best + max(1, best // 16)
    assert len(tried) == len(set(tried)) < 20
    assert [row["streams"] for row in sweep(measure, [3, 2])] == [n for n in (3, 2) if n <= memory]
