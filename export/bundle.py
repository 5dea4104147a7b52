"""Exports a checkpoint to a bundle: its graphs, the files beside them, the manifest last."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.bundle.bundle import Bundle, sha256
from ..runtime.bundle.dataclass_json import write_json
from ..runtime.bundle.manifest import FILE_NAME, FileEntry, GraphSpec, Manifest, Precision
from ..runtime.cache_folder import bundles_folder
from ..runtime.errors import UsageError
from .atomic_folder import atomic_folder
from .card import license_text, model_card
from .checkpoint.checkpoint import Checkpoint, open_checkpoint
from .graphs.trace import trace
from .graphs.write import data_bytes, fill, write
from .manifest import graph_spec, make_manifest
from .plan import GraphPlan, plan_bundle
from .quantization.kv_calibration import calibrate_cache
from .quantization.recipe import QuantizationRecipe
from .targets import Precisions, Target, target
from .verification.calibration_run import cache_entries

Progress = Callable[[str, int, int], None]
"""Called with the name of the graph that is being written, its bytes so far and in all."""


@dataclass(frozen=True)
class Request:
    """The options of an export; None leaves a choice to the target or the model.

    `decoder` includes Mimi's decoder, which speech to text does not need; `recipe` replaces the
    precision's own quantization recipe.
    """

    repo: str
    out: Path | None = None
    target: str = "cpu"
    precision: Precision | None = None
    codec_precision: Precision | None = None
    kv_cache: Precision | None = None
    batch: int | None = None
    codebooks: int | None = None
    revision: str | None = None
    lora: str | None = None
    extra_heads: str | None = None
    decoder: bool | None = None
    recipe: QuantizationRecipe | None = None
    force: bool = False


def export_bundle(request: Request, progress: Progress = lambda *_: None) -> Path:
    """Export a checkpoint and return the bundle's folder, which appears when it is complete.

    Raises:
        UsageError: options that exclude each other.
        ModelError: the checkpoint is not available or not readable.
        KyutaiOnnxError: the disk does not take the bundle.
    """
    return export_checkpoint(open_request(request), request, progress)


def open_request(request: Request) -> Checkpoint:
    """Open the checkpoint of a request; raises as `open_checkpoint` does."""
    return open_checkpoint(request.repo, request.revision, request.lora, request.extra_heads)


def export_checkpoint(
    checkpoint: Checkpoint, request: Request, progress: Progress = lambda *_: None
) -> Path:
    """Export a checkpoint that is open already; as `export_bundle`."""
    chosen = target(request.target)
    precisions = _precisions(request, checkpoint, chosen)
    plan = plan_bundle(
        checkpoint,
        chosen,
        precisions,
        batch=request.batch,
        codebooks=request.codebooks,
        decoder=request.decoder,
        recipe=request.recipe,
    )
    style = chosen.style(precisions.model, precisions.cache, request.recipe)
    out = request.out or _default_folder(checkpoint, chosen, precisions)
    with atomic_folder(out, force=request.force) as folder:
        graphs: dict[str, GraphSpec] = {}
        files: dict[str, FileEntry] = {}
        for graph in plan.graphs:
            graphs[graph.name], written = _write_graph(graph, folder, progress)
            files |= written
        manifest = make_manifest(checkpoint, chosen, precisions, style, plan, graphs, files)
        if precisions.cache == "int8":
            progress("KV cache", 0, 0)
            files |= calibrate_cache(Bundle(folder, manifest), cache_entries)
        files |= _write_beside(checkpoint, manifest, folder)
        write_json(folder / FILE_NAME, replace(manifest, files=files))
    return out


def _precisions(request: Request, checkpoint: Checkpoint, chosen: Target) -> Precisions:
    """A codec alone has one precision, whichever of the two it is asked for by."""
    if checkpoint.lm is not None:
        precision = request.precision or chosen.default_precision
        cache = request.kv_cache or chosen.default_cache(precision)
        return Precisions(precision, request.codec_precision or "fp32", cache)
    if request.kv_cache is not None:
        raise UsageError("a codec alone has no --kv-cache: leave it out")
    asked = {p for p in (request.precision, request.codec_precision) if p is not None}
    if len(asked) > 1:
        raise UsageError("a codec alone has one precision: leave out --codec-precision")
    precision = asked.pop() if asked else "fp32"
    return Precisions(precision, precision)


def _default_folder(checkpoint: Checkpoint, chosen: Target, precisions: Precisions) -> Path:
    name = checkpoint.repository.name
    plain = Path(name).resolve().name if Path(name).exists() else name.replace("/", "--")
    label: str = precisions.model
    if checkpoint.lm is not None and precisions.codec != "fp32":
        label += f"-codec-{precisions.codec}"
    if precisions.cache != "fp32":
        label += f"-kv-{precisions.cache}"
    return bundles_folder() / f"{plain}--{label}-{chosen.name}"


def _write_graph(
    graph: GraphPlan, folder: Path, progress: Progress
) -> tuple[GraphSpec, dict[str, FileEntry]]:
    progress(graph.name, 0, 0)
    traced = trace(graph.build, graph.sizes)
    fill(traced, graph.tensors)
    done, total = 0, data_bytes(traced)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(graph.name, done, total)

    written = write(traced, folder, graph.name, advance)
    return graph_spec(graph, traced.module, written), written


def _write_beside(checkpoint: Checkpoint, manifest: Manifest, folder: Path) -> dict[str, FileEntry]:
    """Write the tokenizer, the notice and the card."""
    if checkpoint.tokenizer is not None and manifest.tokenizer is not None:
        shutil.copyfile(checkpoint.tokenizer, folder / manifest.tokenizer)
    (folder / "LICENSE").write_text(license_text(manifest), encoding="utf-8")
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    names = filter(None, (manifest.tokenizer, "LICENSE", "README.md"))
    files = {name: folder / name for name in names}
    return {name: FileEntry(sha256(file), file.stat().st_size) for name, file in files.items()}
