"""Execution providers: the one asked for, proven to run, or one line that says why not."""

import importlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from support.toy_codec import Toy

from kyutai_onnx.runtime.bundle.manifest import Target
from kyutai_onnx.runtime.errors import ModelError, ProviderError, UsageError
from kyutai_onnx.runtime.providers import provider as providers
from kyutai_onnx.runtime.providers.provider import (
    PROVIDERS,
    available,
    choose,
    default_threads,
    load_onnxruntime,
    make_session,
    session_options,
)

FOREIGN = {
    ("directml", "Linux"),
    ("directml", "Darwin"),
    ("coreml", "Linux"),
    ("coreml", "Windows"),
}
ALL = ["CUDAExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider"]


@pytest.fixture(autouse=True)
def _found_again() -> Iterator[None]:
    """Each test looks for onnxruntime by itself, and so does whatever comes after."""
    load_onnxruntime.cache_clear()
    yield
    load_onnxruntime.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, *wheels: str) -> None:
    """Makes it seem that these wheels of ONNX Runtime are installed, and no others."""

    def version(name: str) -> str:
        if name not in wheels:
            raise metadata.PackageNotFoundError(name)
        return "1.31.1"

    monkeypatch.setattr(metadata, "version", version)


def offer(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes it seem that ONNX Runtime was built with these providers and the CPU."""
    built = [*names, "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)


def reported(requested: str, target: Target, *, allow_fallback: bool = False) -> str:
    with pytest.raises(ProviderError) as refused:
        choose(requested, target, allow_fallback=allow_fallback)
    assert refused.value.exit_code == 5
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_onnxruntime_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "onnxruntime-gpu")
    assert load_onnxruntime() is onnxruntime
    install(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert load_onnxruntime() is onnxruntime


def test_a_machine_without_onnxruntime_is_reported_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    install(monkeypatch)
    monkeypatch.setattr(importlib, "import_module", refuse)
    line = reported("cpu", "cpu")
    assert line.startswith("onnxruntime is not installed")
    assert "'pip install \"kyutai-onnx[cpu]\"'" in line


def test_an_onnxruntime_that_does_not_load_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    install(monkeypatch, "onnxruntime-gpu")
    monkeypatch.setattr(importlib, "import_module", refuse)
    line = reported("cuda", "cuda")
    assert line.startswith("onnxruntime-gpu failed to load (libcudart.so.13: cannot open")


def test_two_wheels_that_overwrite_one_another_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    line = reported("cpu", "cpu")
    assert line.startswith("onnxruntime and onnxruntime-gpu ")
    assert "'pip uninstall -y onnxruntime onnxruntime-gpu'" in line


def test_an_unknown_provider_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageError, match=r"'tpu'; .* cpu, cuda, directml"):
        choose("tpu", "cpu")


@pytest.mark.parametrize("name", ["cuda", "directml", "coreml"])
@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("allow_fallback", [True, False])
@pytest.mark.parametrize("system", ["Linux", "Windows", "Darwin"])
def test_a_provider_that_is_not_there_is_reported_first(
    name: str, target: Target, allow_fallback: bool, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch)
    monkeypatch.setattr(platform, "system", lambda: system)
    provider = PROVIDERS[name]  # type: ignore[index]
    line = reported(name, target, allow_fallback=allow_fallback)
    said = f"{name}: {provider.onnxruntime_name} is not in the installed onnxruntime (it"
    assert line.startswith(said)
    if (name, system) in FOREIGN:
        assert line.endswith(f"; it is available on {provider.system} only")
    else:
        assert line.endswith(f"run 'pip install \"kyutai-onnx[{provider.extra}]\"'")


def test_a_plug_in_is_there_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not available(PROVIDERS["webgpu"])
    assert "WebGpuExecutionProvider is not in" in reported("webgpu", "webgpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "onnxruntime_ep_webgpu")
    assert choose("webgpu", "webgpu").name == "webgpu"


def test_a_provider_that_the_bundle_was_not_made_for_is_refused_unless_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, *ALL)
    line = reported("cuda", "cpu")
    assert line.startswith("this bundle was made ")
    assert "--allow-fallback" in line
    assert choose("cuda", "cpu", allow_fallback=True).name == "cuda"
    assert "for cuda, not cpu" in reported("cpu", "cuda")
    assert choose("cpu", "cuda", allow_fallback=True).name == "cpu"


@pytest.mark.parametrize("target", ["cpu", "cuda", "directml", "coreml"])
def test_auto_is_the_provider_that_the_bundle_was_made_for(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, *ALL)
    assert choose("auto", target).name == target


def test_auto_is_the_cpu_only_where_a_fallback_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    assert "CUDAExecutionProvider is not in " in reported("auto", "cuda")
    assert choose("auto", "cuda", allow_fallback=True).name == "cpu"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return Toy().write(tmp_path) / "toy.onnx"


def test_a_session_opens_on_the_cpu(graph: Path) -> None:
    session = make_session(graph, PROVIDERS["cpu"], threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 1


class Opened:
    """Stands in for a session: opened by these providers, or not at all."""

    def __init__(self, *providers: str, error: Exception | None = None) -> None:
        self.providers, self.error = list(providers), error
        self.arguments: dict[str, Any] = {}

    def __call__(self, path: str, options: Any, **arguments: Any) -> "Opened":
        self.arguments = arguments
        if self.error is not None:
            raise self.error
        return self

    def get_providers(self) -> list[str]:
        return self.providers

    def disable_fallback(self) -> None:
        self.arguments["disabled"] = True


def opened(monkeypatch: pytest.MonkeyPatch, session: Opened) -> Opened:
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    return session


def test_a_session_that_silently_fell_back_to_the_cpu_is_refused(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, Opened("CPUExecutionProvider"))
    with pytest.raises(ProviderError, match=r"CUDAExecutionProvider .* not start"):
        make_session(graph, PROVIDERS["cuda"])


def test_a_session_may_not_fall_back_later(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(monkeypatch, Opened("CUDAExecutionProvider", "CPUExecutionProvider"))
    make_session(graph, PROVIDERS["cuda"])
    first, second = session.arguments["providers"]
    assert first == ("CUDAExecutionProvider", PROVIDERS["cuda"].options)
    assert second == ("CPUExecutionProvider", {})
    assert session.arguments["enable_fallback"] is False
    assert session.arguments["disabled"]


def test_a_provider_that_does_not_open_is_reported_in_one_line(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, Opened(error=RuntimeError("CUDA failure 100: no device\nat cuda_call.cc")))
    with pytest.raises(ProviderError) as refused:
        make_session(graph, PROVIDERS["cuda"])
    assert str(refused.value) == f"cuda could not open {graph}: CUDA failure 100: no device"


def test_a_provider_that_meets_an_unreadable_graph_blames_the_graph(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = onnxruntime.capi.onnxruntime_pybind11_state
    opened(monkeypatch, Opened(error=kinds.InvalidProtobuf("Protobuf parsing failed.")))
    with pytest.raises(ModelError, match="onnxruntime cannot read it "):
        make_session(graph, PROVIDERS["cuda"])


def test_a_plug_in_without_a_device_is_refused(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[str] = []
    plugin = SimpleNamespace(get_library_path=lambda: "library.so")
    modules = {"onnxruntime": onnxruntime, "onnxruntime_ep_webgpu": plugin}
    monkeypatch.setattr(importlib, "import_module", modules.__getitem__)
    monkeypatch.setattr(
        onnxruntime,
        "register_execution_provider_library",
        lambda name, path: registered.append(path),
        raising=False,
    )
    with pytest.raises(ProviderError, match="WebGpuExecutionProvider finds no device"):
        make_session(graph, PROVIDERS["webgpu"])
    assert registered == ["library.so"]


def test_threads_are_those_this_process_may_use_and_four_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for processors, threads in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False
        )
        assert default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    for counted, threads in ((None, 1), (2, 2), (16, 4)):
        monkeypatch.setattr(os, "cpu_count", lambda n=counted: n)
        assert default_threads() == threads


def test_sessions_take_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "default_threads", lambda: 3)
    assert session_options(PROVIDERS["cpu"], None).intra_op_num_threads == 3
    assert session_options(PROVIDERS["cpu"], 2).intra_op_num_threads == 2
    assert not session_options(PROVIDERS["directml"], 2).enable_mem_pattern
