"""What the published sizes cost on a CUDA GPU: streams side by side, and a frame of one stream.

    python -m benchmarks.cuda --work FOLDER [--only stt-1b-en_fr ...] [--out cuda]

Makes under FOLDER, the first time, checkpoints of random weights and bundles of them, and an
environment for Kyutai's package. Says where every graph's nodes lie, then steps each bundle as
after hours of use, every ring full, in a process of its own: `stt-1b-en_fr` with more and more
streams until 99 % of its frames no longer take less than they last, the others with one; with CUDA
graphs and without. Writes OUT.json and OUT.md after each. Exits with 5 where CUDA does not run, and
with 1 where a graph computes elsewhere.
"""

import argparse
import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.bundle.manifest import Target
from kyutai_onnx.runtime.errors import KyutaiOnnxError
from kyutai_onnx.runtime.graph.buffers import COPY
from kyutai_onnx.runtime.providers.provider import (
    CAPTURING,
    choose,
    elsewhere,
    load_onnxruntime,
    make_session,
)

from .compare import figures
from .cuda_tables import FRAME_MS, as_markdown
from .peers import Engine
from .published import write_published

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A model, and the words that Kyutai's package is started with; `sweeps` with more and more
    streams."""

    model: str
    precisions: tuple[str, ...]
    peer: str = "bf16"
    sweeps: bool = False
    codebooks: int | None = None


WORKS = (
    Work("mimi", ("fp32",), peer="mimi", codebooks=8),
    Work("stt-1b-en_fr", ("fp16", "int4"), sweeps=True),
    Work("moshi-7b", ("fp16", "int4")),
)


def bundle_of(work: Work, precision: str, target: Target, folder: Path) -> Path:
    """The bundle for a target, exported the first time."""
    out = folder / f"{work.model}-{precision}-{target}"
    if not (out / "bundle.json").is_file():
        checkpoint = write_published(work.model, folder / work.model)
        request = Request(
            str(checkpoint),
            out,
            target=target,
            precision=precision,  # type: ignore[arg-type]
            codebooks=work.codebooks,
            force=True,
        )
        export_bundle(request)
    return out


def placed(bundle: Path, provider: str) -> list[Row]:
    """Where the nodes of each graph lie, which of them compute elsewhere than asked, and whether
    its steps are captured."""
    loop = FrameBenchmark(Bundle.open(bundle), provider=provider)
    found = [
        {
            "graph": graph.name,
            "asked": graph.provider.onnxruntime_name,
            "nodes": {name: dict(nodes) for name, nodes in graph.placement.items()},
            "elsewhere": {
                name: dict(nodes)
                for name, nodes in elsewhere(
                    graph.placement, graph.provider.onnxruntime_name
                ).items()
            },
            "captured": graph.captures,
        }
        for graph in loop.graphs()
    ]
    del loop
    gc.collect()
    return found


def measure(start: Callable[[], Engine], streams: int, frames: int) -> Row | None:
    """Milliseconds a frame of so many streams; None where the engine ends, as without memory."""
    try:
        engine = start()
        try:
            engine.step(max(3, frames // 10), counted=False)
            engine.step(frames)
            gpu = gpu_memory_mb()
        finally:
            engine.stop()
    except RuntimeError as error:
        print(f"{streams} streams: {error}", file=sys.stderr)
        return None
    row = figures(engine)
    keeps_up = row["p99_ms"] <= FRAME_MS
    return row | {"streams": streams, "keeps_up": keeps_up, "gpu_memory_mb": gpu}


def sweep(run: Callable[[int], Row | None], batches: list[int] | None) -> Iterator[Row]:
    """Twice as many streams each time while they keep up, then between the last that did and the
    first that did not; or the batches that are named."""
    if batches is not None:
        yield from (row for row in map(run, batches) if row is not None)
        return
    most, least = 0, 1
    while (row := run(least)) is not None:
        yield row
        if not row["keeps_up"]:
            break
        most, least = least, 2 * least
    while least - most > max(1, most // 16):
        middle = (most + least) // 2
        row = run(middle)
        if row is not None:
            yield row
        if row is not None and row["keeps_up"]:
            most = middle
        else:
            least = middle


def engines(
    work: Work, bundles: dict[str, Path], arguments: argparse.Namespace
) -> Iterator[tuple[str, Callable[[int], Engine]]]:
    """What steps the model: ours in each precision, with CUDA graphs and without, and Kyutai's."""

    def starting(name: str, peer: str, *words: str) -> Callable[[int], Engine]:
        options = [] if work.codebooks is None else ["--codebooks", str(work.codebooks)]

        def start(batch: int) -> Engine:
            command = [*words, *options, "--batch", str(batch)]
            return Engine.start(name, peer, command, arguments.work, arguments.threads)

        return start

    captures = [arguments.provider] + ([CAPTURING] if arguments.provider == "cuda" else [])
    for precision, path in bundles.items():
        for provider in captures:
            name = f"kyutai-onnx {precision}, {provider}"
            yield name, starting(name, "kyutai_onnx", str(path), provider)
    if not arguments.no_peers:
        name = f"moshi {work.peer}"
        words = (str(arguments.work / work.model), work.peer, "--device", "cuda")
        yield name, starting(name, "moshi", *words)


def measured(work: Work, arguments: argparse.Namespace, target: Target) -> Iterator[Row]:
    """The figures of one model so far, after each of them."""
    precisions = arguments.precision or work.precisions
    bundles = {p: bundle_of(work, p, target, arguments.work) for p in precisions}
    chosen = CAPTURING if arguments.provider == "cuda" else arguments.provider
    found: Row = {
        "work": work.model,
        "placement": {p: placed(path, chosen) for p, path in bundles.items()},
        "engines": [],
    }
    yield found
    batches = arguments.batches if work.sweeps else [1]
    for _, start in engines(work, bundles, arguments):
        run = lambda batch, start=start: measure(lambda: start(batch), batch, arguments.frames)  # noqa: E731
        for row in sweep(run, batches):
            found["engines"].append(row)
            yield found


def gpu(*fields: str) -> list[str]:
    """What the driver says of the first GPU; nothing where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    reported = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [value.strip() for value in reported.partition("\n")[0].split(",") if value.strip()]


def gpu_memory_mb() -> float | None:
    """Megabytes of the GPU's memory that are in use, by all programs."""
    reported = gpu("memory.used")
    return float(reported[0]) * 1.048576 if reported else None


def benchmark(arguments: argparse.Namespace) -> bool:
    """Measures all that was asked for; returns whether every graph computes where it was asked."""
    target: Target = arguments.provider
    make_session(COPY, choose(arguments.provider, target))  # before hours of exporting
    report: Row = {
        "gpu": gpu("name", "driver_version", "memory.total"),
        "onnxruntime": str(load_onnxruntime().__version__),
        "provider": arguments.provider,
        "works": [],
    }
    for work in WORKS:
        if arguments.only and work.model not in arguments.only:
            continue
        report["works"].append({})
        for found in measured(work, arguments, target):
            report["works"][-1] = found
            arguments.out.with_suffix(".json").write_text(json.dumps(report, indent=1))
            arguments.out.with_suffix(".md").write_text(as_markdown(report))
    print(as_markdown(report), end="")
    graphs = [
        graph
        for found in report["works"]
        for placements in found["placement"].values()
        for graph in placements
    ]
    return not any(graph["elsewhere"] for graph in graphs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--only", nargs="+", choices=[work.model for work in WORKS])
    parser.add_argument("--precision", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int, help="of models with many streams")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("cuda"))
    arguments = parser.parse_args()
    try:
        sys.exit(0 if benchmark(arguments) else 1)
    except KyutaiOnnxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
