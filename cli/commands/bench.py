"""`bench`: how fast a bundle runs on this machine."""

import json
import platform
import sys
from typing import TYPE_CHECKING, Annotated, Any

from .. import options
from ..options import HARDWARE, MODEL, option

if TYPE_CHECKING:
    from ...models.frame_benchmark import FrameBenchmark, FrameTimes

DIGITS = 4
"""Decimals of the figures."""

app = options.new_app()


@app.command()
@options.with_groups
def bench(
    *,
    model: options.NamedModelOptions,
    frames: Annotated[int, option("--frames", min=1, panel=HARDWARE, help="Frames to time.")] = 100,
    batch: Annotated[
        int, option("--batch", min=1, panel=HARDWARE, help="Streams to step side by side.")
    ] = 1,
    codebooks: Annotated[
        int | None,
        option("--codebooks", min=1, panel=MODEL, help="Codebooks of speech. Default: all."),
    ] = None,
    guided: Annotated[
        bool,
        option("--guided", panel=MODEL, help="With guidance, as --cfg-coef of 'translate'."),
    ] = False,
    as_json: options.Json = False,
    general: options.General,
) -> None:
    """Time each graph of a bundle, at full KV caches."""
    from ...models.frame_benchmark import FrameBenchmark
    from ..load import open_model

    loop = FrameBenchmark(
        open_model(model, general.quiet),
        **model.loading,
        batch=batch,
        codebooks=codebooks,
        guided=guided,
    )
    found = figures(loop, loop.time(frames))
    print(json.dumps(found, indent=2) if as_json else table(found))


def figures(loop: "FrameBenchmark", times: "FrameTimes") -> dict[str, Any]:
    """Return the figures: milliseconds per frame of all streams, memory and size in megabytes."""
    from ...runtime.providers.provider import default_threads, load_onnxruntime

    manifest = loop.bundle.manifest
    return {
        "model": manifest.name,
        "family": manifest.family,
        "precision": manifest.precision,
        "provider": loop.provider,
        "threads": loop.threads or default_threads(),
        "streams": times.streams,
        "frames": len(times.total),
        "placement": {
            graph.name: {name: dict(nodes) for name, nodes in graph.placement.items()}
            for graph in loop.graphs()
        },
        "elsewhere": misplaced(loop),
        "cuda_graphs": [graph.name for graph in loop.graphs() if graph.captures],
        "graphs_ms": {name: round(1e3 * value, DIGITS) for name, value in times.medians.items()},
        "rest_ms": round(1e3 * times.rest, DIGITS),
        "frame_ms": round(1e3 * times.median, DIGITS),
        "frame_p99_ms": round(1e3 * times.p99, DIGITS),
        "first_frame_ms": round(1e3 * loop.first_seconds, DIGITS),
        "frame_lasts_ms": round(1e3 * times.frame_seconds, DIGITS),
        "times_real_time": round(times.times_real_time, DIGITS),
        "keeps_up": times.p99 <= times.frame_seconds,
        "open_seconds": round(loop.load_seconds, DIGITS),
        "peak_memory_mb": peak_memory_mb(),
        "size_mb": sum(entry.bytes for entry in manifest.files.values()) / 1e6,
        "machine": platform.processor() or platform.machine(),
        "onnxruntime": str(load_onnxruntime().__version__),
    }


def misplaced(loop: "FrameBenchmark") -> dict[str, dict[str, int]]:
    """Return, for each graph that runs on another provider than asked, its operators and counts."""
    from ...runtime.providers.provider import elsewhere

    found: dict[str, dict[str, int]] = {}
    for graph in loop.graphs():
        for nodes in elsewhere(graph.placement, graph.provider.onnxruntime_name).values():
            found[graph.name] = found.get(graph.name, {}) | dict(nodes)
    return found


def table(found: dict[str, Any]) -> str:
    """Format the figures: one line per graph, then the verdict."""
    rows = [(name.replace("_", " "), value, None) for name, value in found["graphs_ms"].items()]
    rows.append(("the rest", found["rest_ms"], None))
    rows.append(("a frame", found["frame_ms"], found["frame_p99_ms"]))
    count = found["streams"]
    streams = "1 stream" if count == 1 else f"{count} streams"
    lines = [
        f"{found['model']}: {found['precision']}, {found['provider']}, {found['threads']} threads, "
        f"{streams}, every ring full",
        f"{'':24}{'ms (median)':>12}{'99 % under':>12}",
    ]
    for name, nodes in found["elsewhere"].items():
        operators = ", ".join(f"{count} {operator}" for operator, count in nodes.items())
        lines.insert(1, f"{name.replace('_', ' ')} computes elsewhere than asked: {operators}")
    for name, median, p99 in rows:
        lines.append(f"{name:24}{median:12.2f}" + ("" if p99 is None else f"{p99:12.2f}"))
    each = "" if count == 1 else f", {found['times_real_time'] / count:.2f} for each stream"
    lines.append(
        f"a frame lasts {found['frame_lasts_ms']:.0f} ms: runs at "
        f"{found['times_real_time']:.2f} times real time{each}"
    )
    memory = found["peak_memory_mb"]
    lines.append(
        f"open in {found['open_seconds']:.2f} s, first frame {found['first_frame_ms']:.0f} ms, "
        + ("" if memory is None else f"{memory:.0f} MB of memory at most, ")
        + f"{found['size_mb']:.1f} MB on disk"
    )
    return "\n".join(lines)


def peak_memory_mb() -> float | None:
    """Return the most memory that this process held; None if the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
