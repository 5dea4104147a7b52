"""Execution providers: which one to use, how to set it up, and proof that it is the one in use.

ONNX Runtime falls back to the CPU by itself, with only a line in a log. Here a provider is checked
before a session is made and again after, and a provider that is not available is an error.
"""

import importlib
import importlib.util
import os
import platform
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from packaging.version import Version

from ..bundle.manifest import REMEDY, GraphSpec, Target
from ..errors import KyutaiOnnxError, ModelError, ProviderError, UsageError
from .onnx_file import addition_model, prune

if TYPE_CHECKING:
    import onnxruntime

WHEELS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-windowsml",
    "onnxruntime-openvino",
    "onnxruntime-webgpu",
)
"""Distributions that all unpack into the one folder `onnxruntime`."""


@dataclass(frozen=True)
class Provider:
    """One execution provider: ONNX Runtime's name for it, its options, and the extra that installs
    it.

    `memory` says where its inputs and outputs lie: `shared` with numpy; `copied` to its own memory,
    which ONNX Runtime does when inputs are bound and not when the graph runs; or on its `device`,
    where they stay from step to step. `captures` asks for steps to be captured as CUDA graphs, if
    ONNX Runtime can.
    """

    name: Target
    onnxruntime_name: str
    extra: str
    options: dict[str, str] = field(default_factory=dict)
    memory: Literal["shared", "copied", "device"] = "shared"
    device: str = "cpu"
    captures: bool = False
    plugin: str | None = None
    system: str | None = None
    """The only system that has it; None if all do."""


PROVIDERS: dict[Target, Provider] = {
    "cpu": Provider("cpu", "CPUExecutionProvider", "cpu"),
    "cuda": Provider(
        "cuda",
        "CUDAExecutionProvider",
        "cuda",
        {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",
        },
        memory="device",
        device="cuda",
    ),
    "directml": Provider(
        "directml", "DmlExecutionProvider", "directml", memory="copied", system="Windows"
    ),
    "webgpu": Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        "webgpu",
        memory="copied",
        plugin="onnxruntime_ep_webgpu",
    ),
    "coreml": Provider(
        "coreml",
        "CoreMLExecutionProvider",
        "cpu",
        {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": "CPUAndGPU",
            "RequireStaticInputShapes": "1",
        },
        system="macOS",
    ),
}


CAPTURING = "cuda-graphs"
"""CUDA, and each step captured once and replayed: onnxruntime's option `enable_cuda_graph`."""


@cache
def load_onnxruntime() -> Any:
    """Imports onnxruntime; raises ProviderError if none, or more than one, is installed.

    Since 1.29 its wheels write a device identifier and send events to Microsoft, unless
    ORT_DISABLE_TELEMETRY forbids it before the import: here it does, if it is not set.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    installed = [wheel for wheel in WHEELS if _installed(wheel)]
    if len(installed) > 1:
        raise ProviderError(
            f"{' and '.join(installed)} overwrite one another; run 'pip uninstall -y "
            f"{' '.join(installed)}', then 'pip install \"kyutai-onnx[cpu]\"' or the extra you need"
        )
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        if installed:
            raise ProviderError(f"{installed[0]} failed to load ({error}); reinstall it") from None
        raise ProviderError(
            "onnxruntime is not installed; run 'pip install \"kyutai-onnx[cpu]\"'"
        ) from None


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def available(provider: Provider) -> bool:
    """Whether the installed ONNX Runtime was built with the provider, or its plug-in is there."""
    if provider.plugin is not None:
        return importlib.util.find_spec(provider.plugin) is not None
    return provider.onnxruntime_name in load_onnxruntime().get_available_providers()


def check_name(requested: str) -> None:
    """Raises UsageError for a provider that is unknown."""
    if requested not in (*PROVIDERS, CAPTURING, "auto"):
        raise UsageError(
            f"no provider {requested!r}; choose among {', '.join(PROVIDERS)}, {CAPTURING}, auto"
        )


def target_of(requested: str) -> Target:
    """What a bundle is made for if this provider is to run it; raises UsageError for one that is
    unknown."""
    check_name(requested)
    if requested == CAPTURING:
        return "cuda"
    return "cpu" if requested == "auto" else cast("Target", requested)


def choose(requested: str, target: Target, *, allow_fallback: bool = False) -> Provider:
    """The provider for a bundle made for `target`.

    `auto` is the bundle's own, `cuda-graphs` is CUDA that captures its steps. Raises UsageError for
    an unknown provider; ProviderError if it is not installed, or if it is not the bundle's own and
    `allow_fallback` is false.
    """
    check_name(requested)
    if requested == CAPTURING:
        return capturing(choose("cuda", target, allow_fallback=allow_fallback))
    name = target if requested == "auto" else requested
    provider = PROVIDERS[cast("Target", name)]
    if not available(provider):
        if requested == "auto" and allow_fallback:
            return PROVIDERS["cpu"]
        raise ProviderError(
            f"{name}: {provider.onnxruntime_name} is not in the installed onnxruntime (it has "
            f"{', '.join(load_onnxruntime().get_available_providers())}); {_remedy(provider)}"
        )
    if name != target and not allow_fallback:
        raise ProviderError(
            f"this bundle was made for {target}, not {name}; export it with '--target {name}', "
            "or accept slow or missing operators with '--allow-fallback'"
        )
    return provider


def choose_for_graph(graph: GraphSpec, provider: Provider, target: Target) -> Provider:
    """The provider of one graph of a bundle made for `target`: the one that the manifest's
    `runs_on` names if the bundle runs on its target, else that of all its graphs."""
    if graph.runs_on is not None and provider.name == target:
        return PROVIDERS[graph.runs_on]
    return provider


def _remedy(provider: Provider) -> str:
    here = {"Darwin": "macOS"}.get(platform.system(), platform.system())
    if provider.system not in (None, here):
        return f"it is available on {provider.system} only"
    return f"run 'pip install \"kyutai-onnx[{provider.extra}]\"'"


def capturing(provider: Provider) -> Provider:
    """The same provider, which captures each step as a CUDA graph and replays it."""
    return replace(provider, captures=True, options=provider.options | {"enable_cuda_graph": "1"})


def captures_graphs(session: Any, provider: Provider) -> bool:
    """Whether a session that should capture CUDA graphs can: ONNX Runtime refuses if a node runs on
    the CPU and does not only compute shapes."""
    options = session.get_provider_options().get(provider.onnxruntime_name, {})
    return provider.captures and options.get("enable_cuda_graph") == "1"


def default_threads() -> int:
    """Threads for one graph: the processors that this process may use, at most four, since the
    steps are too small for more to help."""
    if hasattr(os, "sched_getaffinity"):
        return min(4, len(os.sched_getaffinity(0)))
    return min(4, os.cpu_count() or 1)


UNREADABLE = ("InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile")
"""What onnxruntime raises for a file that no provider can open. The CPU opens all others."""


DATA_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where the weights of a model lie that is not read from a file itself."""


NO_CAPTURE = "graph capture feature"
"""What onnxruntime says if it does not capture a graph."""


def make_session(
    model: Path | bytes,
    provider: Provider,
    threads: int | None = None,
    outputs: Collection[str] | None = None,
) -> "onnxruntime.InferenceSession":
    """Opens a graph on the provider, with only some of its outputs if these are named; raises
    ModelError if ONNX Runtime cannot read it, ProviderError if it does not open there."""
    runtime = load_onnxruntime()
    options = session_options(provider, threads)
    providers = _providers(runtime, provider, options)
    name = os.fspath(model) if isinstance(model, Path) else "a model in memory"
    source: str | bytes = name if isinstance(model, Path) else model
    if isinstance(model, Path) and outputs is not None:
        source = prune(model.read_bytes(), outputs)
        options.add_session_config_entry(DATA_FOLDER, os.fspath(model.parent))
    try:
        session = runtime.InferenceSession(source, options, enable_fallback=False, **providers)
    except Exception as error:  # onnxruntime raises classes of its own, one for each code
        if provider.captures and NO_CAPTURE in str(error):
            return make_session(model, PROVIDERS[provider.name], threads, outputs)
        raise _refusal(error, provider, name) from None
    if provider.onnxruntime_name not in session.get_providers():
        raise ProviderError(
            f"{provider.onnxruntime_name} is installed but did not start (a driver or library is "
            "missing; run with '--debug' to see its log)"
        )
    session.disable_fallback()
    return session


def _refusal(error: Exception, provider: Provider, name: str) -> KyutaiOnnxError:
    """In one line why a graph did not open: for itself, or on this provider."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if provider.name == "cpu" or type(error).__name__ in UNREADABLE:
        return ModelError(f"{name}: onnxruntime cannot read it ({line}); {REMEDY}")
    return ProviderError(f"{provider.name} could not open {name}: {line}")


def _providers(runtime: Any, provider: Provider, options: Any) -> dict[str, Any]:
    if provider.name == "cuda" and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    if provider.plugin is not None:
        _register_plugin(runtime, provider, options)
        return {}
    chosen = [(provider.onnxruntime_name, provider.options)]
    if provider.name != "cpu":
        chosen.append((PROVIDERS["cpu"].onnxruntime_name, {}))
    return {"providers": chosen}


def _register_plugin(runtime: Any, provider: Provider, options: Any) -> None:
    assert provider.plugin is not None
    plugin = importlib.import_module(provider.plugin)
    if not any(d.ep_name == provider.onnxruntime_name for d in runtime.get_ep_devices()):
        runtime.register_execution_provider_library(
            provider.onnxruntime_name, plugin.get_library_path()
        )
    devices = [d for d in runtime.get_ep_devices() if d.ep_name == provider.onnxruntime_name]
    if not devices:
        raise ProviderError(f"{provider.onnxruntime_name} finds no device on this machine")
    options.add_provider_for_devices(devices[:1], provider.options)


SPIN_MICROSECONDS = "10"
"""How long a thread without work stays awake, inside a run: long enough for the next kernel of the
graph, too short to starve other processes. A frame of stt-1b-en_fr in int4 takes 35.1 ms so, and
42.2 ms with none; beside one busy process 49.1 ms and 58.4 ms (docs/performance.md)."""

SHORT_SPIN = Version("1.28")
"""The oldest onnxruntime that is known to take so short a wait."""


def session_options(provider: Provider, threads: int | None) -> Any:
    """Options for small steps in real time."""
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_mem_pattern = provider.name != "directml" and not provider.captures
    spins = Version(runtime.__version__) >= SHORT_SPIN
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.add_session_config_entry("session.prepack.enable_parallel", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def check_provider(provider: Provider) -> None:
    """Runs a graph of one addition on the provider; raises ProviderError with the cause."""
    try:
        session = make_session(addition_model(), provider, threads=1)
        (found,) = session.run(None, {"x": np.arange(4, dtype=np.float32)})
    except KyutaiOnnxError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own, one for each code
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ProviderError(f"{provider.name} does not run ({cause})") from None
    if list(found) != [0.0, 2.0, 4.0, 6.0]:
        raise ProviderError(f"{provider.name} computes a wrong sum: {list(found)}")


SHAPE_OPERATORS = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Mul", "Range",
    "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze",
})  # fmt: skip
"""Operators on the sizes of tensors. Every provider here has them for numbers; ONNX Runtime puts
those on the CPU that work out a shape, and wants them there."""

Placement = Mapping[str, Counter[str]]
"""How many nodes of which operator each provider runs, by ONNX Runtime's name of it."""


def placement(session: Any) -> Placement:
    """Which provider runs the nodes of a session; empty if onnxruntime is too old to report it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = found.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return found


def elsewhere(placed: Placement, asked: str) -> Placement:
    """The part of a placement that computes on another provider than the one asked for, without
    work on shapes."""
    others = {
        name: Counter({op: n for op, n in operators.items() if op not in SHAPE_OPERATORS})
        for name, operators in placed.items()
        if name != asked
    }
    return {name: operators for name, operators in others.items() if operators}
