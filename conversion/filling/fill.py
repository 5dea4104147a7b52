"""Fills a template with the weights of a checkpoint: with numpy, a tensor at a time."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from ...runtime.bundle.bundle import Bundle, sha256
from ...runtime.bundle.dataclass_json import write_json
from ...runtime.bundle.manifest import FILE_NAME, FileEntry, Manifest
from ...runtime.errors import ModelError
from ...runtime.typing import Array
from ..checkpoint.checkpoint import Checkpoint
from .card import license_text, model_card
from .formula import Evaluation
from .kv_calibration import CacheEntries, calibrate_cache
from .manifest import TEMPORAL, make_manifest
from .template import GraphTemplate, Template, TemplateTensor

Progress = Callable[[str, int, int], None]
"""Called with the name of the graph that is being written, its bytes so far and in all."""


def fill_template(
    template: Template,
    checkpoint: Checkpoint,
    folder: Path,
    cache_entries: CacheEntries,
    progress: Progress,
) -> None:
    """Write a bundle into an empty folder, its manifest last.

    `cache_entries` runs the bundle if its KV cache has 8 bits.

    Raises:
        ModelError: the checkpoint is not readable, or does not fit the template.
        OSError: the disk does not take the bundle.
    """
    files: dict[str, FileEntry] = {}
    for name, graph in template.graphs.items():
        files |= _write_graph(name, graph, checkpoint, folder, progress)
    manifest = make_manifest(checkpoint, template, files)
    if template.precisions.cache == "int8":
        progress("KV cache", 0, 0)
        tensors = template.graphs[TEMPORAL].tensors
        files |= calibrate_cache(Bundle(folder, manifest), tensors, cache_entries)
    files |= _write_beside(checkpoint, manifest, folder)
    write_json(folder / FILE_NAME, replace(manifest, files=files))


def _write_graph(
    name: str, graph: GraphTemplate, checkpoint: Checkpoint, folder: Path, progress: Progress
) -> dict[str, FileEntry]:
    """Write the ONNX file and the data file of a graph; returns the files by name."""
    (folder / graph.spec.file).write_bytes(graph.model)
    digest = hashlib.sha256(graph.model).hexdigest()
    written = {graph.spec.file: FileEntry(digest, len(graph.model))}
    if graph.spec.data is None:
        return written
    tensors = checkpoint.mimi if graph.weights == "mimi" else checkpoint.lm
    assert tensors is not None
    evaluation, data, position = Evaluation(tensors), hashlib.sha256(), 0
    with (folder / graph.spec.data).open("wb") as file:
        for tensor in graph.tensors:
            progress(name, position, graph.bytes)
            padding = bytes(tensor.offset - position)
            for content in chain((padding,), _content(tensor, evaluation)):
                file.write(content)
                data.update(content)
            position = tensor.offset + tensor.bytes
    progress(name, position, graph.bytes)
    return written | {graph.spec.data: FileEntry(data.hexdigest(), position)}


def _content(tensor: TemplateTensor, evaluation: Evaluation) -> Iterator[bytes]:
    """The bytes of a tensor, in pieces; raises ModelError if they are not as many as it has."""
    size, dtype = 0, np.dtype(tensor.dtype)
    for piece in evaluation.pieces(tensor.formula):
        size += piece.nbytes
        if piece.dtype != dtype or size > tensor.bytes:
            raise _misfit(tensor, piece)
        yield piece.tobytes()
    if size != tensor.bytes:
        raise _misfit(tensor, piece)


def _misfit(tensor: TemplateTensor, piece: Array) -> ModelError:
    expected = f"{tensor.dtype} {list(tensor.shape)}"
    return ModelError(
        f"the checkpoint gives {tensor.name} as {piece.dtype} {list(piece.shape)} instead of "
        f"{expected}; report this with the name of the repository"
    )


def _write_beside(checkpoint: Checkpoint, manifest: Manifest, folder: Path) -> dict[str, FileEntry]:
    """Write the tokenizer, the notice and the card."""
    if checkpoint.tokenizer is not None and manifest.tokenizer is not None:
        shutil.copyfile(checkpoint.tokenizer, folder / manifest.tokenizer)
    (folder / "LICENSE").write_text(license_text(manifest), encoding="utf-8")
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    names = filter(None, (manifest.tokenizer, "LICENSE", "README.md"))
    files = {name: folder / name for name in names}
    return {name: FileEntry(sha256(file), file.stat().st_size) for name, file in files.items()}
