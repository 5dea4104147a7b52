"""`doctor`: what works here is found by trying it."""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from support.commands import Command

from kyutai_onnx.cli.commands import doctor
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.cache_folder import bundles_folder
from kyutai_onnx.runtime.errors import ProviderError
from kyutai_onnx.runtime.providers import provider as probing
from kyutai_onnx.runtime.providers.memory_speed import read_bandwidth
from kyutai_onnx.runtime.providers.provider import PROVIDERS


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BENCH_SECONDS", 0.05)
    monkeypatch.setattr(doctor, "READ_BYTES", 1 << 22)


@pytest.fixture
def found(command: Command) -> dict[str, Any]:
    done = command("doctor", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    content: dict[str, Any] = json.loads(done.out)
    return content


def test_everything_is_there(found: dict[str, Any]) -> None:
    assert found["packages"]["kyutai-onnx"] == metadata.version("kyutai-onnx")
    assert found["packages"]["onnxruntime"] == metadata.version("onnxruntime")
    assert found["memory_read_gb_per_second"] > 0.1
    assert set(found["providers"]) == set(PROVIDERS)
    assert found["providers"]["cpu"] == {"runs": True, "name": "CPUExecutionProvider"}
    assert found["cache"]["free_gigabytes"] > 0
    assert found["bench"]["model"] == "stt-demo-en"
    assert found["bench"]["frames"] >= 2
    assert found["bench"]["times_real_time"] == pytest.approx(80 / found["bench"]["frame_ms"], 0.05)


def test_a_provider_that_is_not_there_says_what_to_install(found: dict[str, Any]) -> None:
    if "error" in (cuda := found["providers"]["cuda"]):
        assert "kyutai-onnx[cuda]" in cuda["error"]


def test_the_report_has_a_line_for_each_part(command: Command) -> None:
    lines = command("doctor", "-q").out.splitlines()
    titles = {line.split()[0] for line in lines if not line.startswith(" ")}
    assert titles == {
        "system",
        "installed",
        "machine",
        "load",
        *PROVIDERS,
        "sound",
        "cache",
        "bench",
    }
    assert "cpu        runs" in lines


def test_what_fails_leaves_the_rest(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = command("doctor", "--json", "-q", "--model", tmp_path)
    found = json.loads(done.out)
    assert done.code == 0
    assert "kyutai-onnx[audio]" in found["devices"]["error"]
    assert "bundle.json" in found["bench"]["error"]
    assert found["providers"]["cpu"]["runs"]
    lines = command("doctor", "-q", "--model", tmp_path).out
    assert "sounddevice is not installed" in lines
    assert "bench      " in lines


def test_a_provider_that_nobody_knows_is_a_mistake_of_usage(command: Command) -> None:
    done = command("doctor", "-q", "--provider", "tpu")
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith("no provider 'tpu'; ")


def test_bundles_of_the_cache_are_listed(command: Command) -> None:
    folder = bundles_folder() / "someone--something--int8"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_bytes((DEMO / "stt" / "bundle.json").read_bytes())
    (bundles_folder() / "empty").mkdir()
    cache = json.loads(command("doctor", "--json", "-q").out)["cache"]
    assert cache["bundles"] == ["someone--something--int8"]
    assert cache["folder"] == str(bundles_folder())


def test_the_probe_runs_and_finds_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    probing.check_provider(PROVIDERS["cpu"])
    right = probing.addition_model()
    monkeypatch.setattr(probing, "addition_model", lambda: right.replace(b"Add", b"Mul"))
    with pytest.raises(ProviderError, match="wrong sum"):
        probing.check_provider(PROVIDERS["cpu"])


def test_memory_is_read_at_a_speed_that_can_be() -> None:
    assert 1e8 < read_bandwidth(2, size=1 << 24, tries=2) < 1e13


@pytest.mark.parametrize(("load", "busy"), [(0.0, False), (64.0, True), (None, False)])
def test_a_busy_machine_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, load: float | None, busy: bool
) -> None:
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(doctor, "load_average", lambda: load)
    found = json.loads(command("doctor", "--json", "-q").out)
    assert (found["load"], found["is_busy"]) == (load, busy)
    (line,) = (one for one in doctor.report(found) if one.startswith("load"))
    assert ("busy" in line) == busy


def test_the_load_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (1.23456, 0.0, 0.0), raising=False)
    assert doctor.load_average() == 1.23
    monkeypatch.delattr(doctor.os, "getloadavg")
    assert doctor.load_average() is None
