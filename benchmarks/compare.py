"""Every engine on the same work, in one run on the same cores: ours, its floor, and its peers.

    python -m benchmarks.compare --work FOLDER [--only mimi stt-1b-en_fr ...] [--out FILE]

Makes what it needs under FOLDER the first time: checkpoints of the published sizes with random
weights, bundles of them, and an environment for each peer. Engines live in processes of their own
and take turns of a few frames; every ring is full before the first one that counts. A frame is 80
ms of speech. Writes FILE.json and FILE.md.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.models.resolve import open_folder

from .engines.kyutai_onnx import MOST_FRAMES
from .machine import Machine, measure_machine
from .peers import Engine
from .profile import floor, held_bytes, profile
from .published import write_published
from .tables import as_markdown


@dataclass(frozen=True)
class Work:
    """A model and how it is run; `whole` gives a codec many frames a call. `peers` are words for
    their engines, by name."""

    model: str
    precisions: tuple[str, ...] = ("int8", "int4")
    codebooks: int | None = None
    guided: bool = False
    batch: int = 1
    whole: bool = False
    peers: tuple[tuple[str, str, str], ...] = (("moshi bf16", "moshi", "bf16"),)

    def __str__(self) -> str:
        reported = [self.model]
        if self.codebooks is not None:
            reported.append(f"{self.codebooks} codebooks")
        if self.guided:
            reported.append("guided")
        if self.batch > 1:
            reported.append(f"batch {self.batch}")
        if self.whole:
            reported.append("whole recordings")
        return ", ".join(reported)

    def options(self) -> list[str]:
        chosen = ["--batch", str(self.batch)]
        if self.codebooks is not None:
            chosen += ["--codebooks", str(self.codebooks)]
        chosen += ["--guided"] if self.guided else []
        return chosen + (["--whole"] if self.whole else [])


CODEC_PEERS = (
    ("moshi fp32", "moshi", "mimi"),
    ("rustymimi", "rustymimi", ""),
    ("transformers fp32", "transformers", "mimi"),
)
STT_PEERS = (
    ("moshi bf16", "moshi", "bf16"),
    ("moshi fp32", "moshi", "fp32"),
    ("transformers bf16", "transformers", "bf16"),
)
WORKS = [
    Work("mimi", ("fp32", "int8"), codebooks=8, peers=CODEC_PEERS),
    Work("mimi", ("fp32", "int8"), codebooks=32, peers=CODEC_PEERS),
    Work("mimi", ("fp32", "int8"), codebooks=8, whole=True, peers=CODEC_PEERS[:2]),
    Work("stt-1b-en_fr", peers=STT_PEERS),
    *(Work("stt-1b-en_fr", batch=batch) for batch in (4, 8, 16)),
    Work("stt-2.6b-en"),
    Work("hibiki-1b"),
    Work("hibiki-1b", guided=True),
    Work("hibiki-1b-context-3000", ("int4",)),
    *(Work("tts-1.6b-en_fr", codebooks=codebooks) for codebooks in (8, 16, 32)),
    Work("moshi-7b", ("int4",), peers=()),
]


def bundle_of(work: Work, precision: str, folder: Path) -> Path:
    """The bundle, exported the first time."""
    name = f"{work.model}-{precision}"
    if work.model == "mimi":
        name += f"-{work.codebooks}"
    if not (folder / name / "bundle.json").is_file():
        checkpoint = write_published(work.model, folder / work.model)
        codebooks = work.codebooks if work.model == "mimi" else None
        export_bundle(
            Request(
                str(checkpoint),
                folder / name,
                precision=precision,  # type: ignore[arg-type]
                codebooks=codebooks,
                force=True,
            )
        )
    return folder / name


def compare(work: Work, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All engines of one work, in turns."""
    machine = measure_machine(arguments.threads)
    bundles = {p: bundle_of(work, p, folder) for p in arguments.precision or work.precisions}
    floors = {p: floors_of(path, work, machine) for p, path in bundles.items()}
    engines = list(started(work, bundles, folder, arguments))
    try:
        for turn in range(arguments.rounds + 1):
            for engine in engines:
                engine.step(arguments.frames, counted=turn > 0)
    finally:
        for engine in engines:
            engine.stop()
    rows = [figures(engine) for engine in engines]
    for row in rows:
        least = floors.get(row["engine"].removeprefix("kyutai-onnx "))
        if least is not None:
            row |= {"floor_ms": least.milliseconds, "weights_mb": least.weights_mb}
            check_memory(row)
    sizes = {f"kyutai-onnx {p}": size_mb(path) for p, path in bundles.items()}
    for row in rows:
        row["size_mb"] = sizes.get(row["engine"])
    return {
        "work": str(work),
        "batch": work.batch,
        "threads": arguments.threads,
        "read_gb_per_second": machine.read_bandwidth / 1e9,
        "fp32_gmacs_per_second": machine.multiplications / 1e9,
        "engines": rows,
    }


def started(
    work: Work, bundles: dict[str, Path], folder: Path, arguments: argparse.Namespace
) -> Iterator[Engine]:
    def start(name: str, peer: str, words: list[str]) -> Engine:
        return Engine.start(name, peer, [*words, *work.options()], folder, arguments.threads)

    for precision, path in bundles.items():
        words = [str(path), arguments.provider]
        yield start(f"kyutai-onnx {precision}", "kyutai_onnx", words)
    checkpoint = folder / work.model
    for name, peer, flavour in () if arguments.no_peers else work.peers:
        if peer == "rustymimi":
            yield start(name, peer, [str(next(checkpoint.glob("mimi-*.safetensors")))])
        else:
            yield start(name, peer, [str(checkpoint), flavour])


@dataclass(frozen=True)
class Least:
    """What no program on this machine could save: milliseconds of each graph, and megabytes of the
    weights of all."""

    milliseconds: dict[str, float]
    weights_mb: float


def check_memory(row: dict[str, Any]) -> None:
    """Raises RuntimeError if a process holds less than its weights need: some of them are equal, so
    that ONNX Runtime holds them once and caches serve them."""
    if row["held_mb"] < row["weights_mb"]:
        raise RuntimeError(
            f"{row['engine']} holds {row['held_mb']:.0f} MB, its weights need "
            f"{row['weights_mb']:.0f}: some are equal, and the figures are too good; delete the "
            "bundle and its checkpoint, so that both are made again"
        )


def floors_of(path: Path, work: Work, machine: Machine) -> Least:
    """The least that a frame of a bundle costs on this machine."""
    bundle = open_folder(path)

    def open_loop() -> FrameBenchmark:
        return FrameBenchmark(
            bundle,
            threads=machine.threads,
            batch=work.batch,
            codebooks=work.codebooks if bundle.manifest.lm is not None else None,
            guided=work.guided,
            frames=frames,
        )

    frames = MOST_FRAMES if work.whole else 1
    rows = {"temporal_transformer": 2} if work.guided else {}
    profiled = profile(open_loop, 2)
    milliseconds = {
        graph.name: 1e3
        / frames
        * floor(bundle, graph, nodes, work.batch * rows.get(graph.name, 1)).seconds(machine)
        for graph, nodes in profiled
    }
    return Least(milliseconds, sum(held_bytes(bundle, graph) for graph, _ in profiled) / 1e6)


def figures(engine: Engine) -> dict[str, Any]:
    """Milliseconds a frame, in all and by part; seconds and megabytes of the process."""
    whole = sorted(1e3 * parts["frame"] for parts in engine.frames)
    names = [name for name in engine.frames[0] if name != "frame"]
    return {
        "engine": engine.name,
        "frame_ms": statistics.median(whole),
        "p99_ms": whole[min(len(whole) - 1, int(0.99 * len(whole)))],
        "parts_ms": {
            name: statistics.median(1e3 * parts[name] for parts in engine.frames if name in parts)
            for name in names
        },
        **engine.reported,
    }


def size_mb(bundle: Path) -> float:
    return sum(file.stat().st_size for file in bundle.iterdir()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="MODEL")
    parser.add_argument("--precision", nargs="+")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("comparison"))
    arguments = parser.parse_args()
    found = []
    for work in WORKS:
        if arguments.only and str(work) not in arguments.only and work.model not in arguments.only:
            continue
        found.append(compare(work, arguments.work, arguments))
        arguments.out.with_suffix(".json").write_text(json.dumps(found, indent=1))
        arguments.out.with_suffix(".md").write_text(as_markdown(found))
        print(as_markdown(found[-1:]), flush=True)


if __name__ == "__main__":
    main()
