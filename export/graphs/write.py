"""Writes a traced graph with the checkpoint's weights, one tensor in memory at a time."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer

from ...runtime.bundle.manifest import FileEntry
from ..checkpoint.tensor_views import Tensors
from ..modules.step import materialize
from ..quantization.fp16_storage import halved, widen
from .trace import Traced, quiet

INLINE = 1024
"""Bytes up to which a constant stays inside the .onnx file."""
ALIGNED, ALIGNMENT = 1 << 20, 4096
"""Tensors from so many bytes on start at a multiple of so many, so that they can be mapped."""


def fill(traced: Traced, tensors: Tensors) -> None:
    """Gives every weight a value that is read when it is asked for, then simplifies the graph."""
    for name, value in traced.model.graph.initializers.items():
        shape, dtype = value.shape, value.dtype
        assert shape is not None
        assert dtype is not None

        def read(name: str = name) -> ir.TensorProtocol:
            return ir.tensor(materialize(traced.module, name, tensors), name=name)

        value.const_value = ir.LazyTensor(read, dtype=dtype, shape=shape, name=name)
    with quiet():
        onnxscript.optimizer.optimize(traced.model)
    _strip(traced.model)


def _strip(model: ir.Model) -> None:
    """Removes what the exporter notes about its own run: the places in source files, above all."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    model.producer_name, model.producer_version = "kyutai-onnx", None


def write(
    traced: Traced, folder: Path, name: str, advance: Callable[[int], None]
) -> dict[str, FileEntry]:
    """Write `name.onnx` and, if any weight is large, its data file `name.data`.

    `advance` is called with the bytes of each tensor. Returns the files by name.
    """
    graph, data = folder / f"{name}.onnx", folder / f"{name}.data"
    stored = _write_data(
        traced.model.graph, data, advance, halves=traced.module.dialect.folds_casts
    )
    ir.save(traced.model, graph)
    content = graph.read_bytes()
    written = {graph.name: FileEntry(hashlib.sha256(content).hexdigest(), len(content))}
    return written | ({data.name: stored} if stored.bytes else {})


def _write_data(
    graph: ir.Graph, path: Path, advance: Callable[[int], None], *, halves: bool
) -> FileEntry:
    digest, position = hashlib.sha256(), 0
    with path.open("wb") as file:
        for initializer in list(graph.initializers.values()):
            tensor, value = initializer.const_value, initializer
            assert tensor is not None
            if tensor.nbytes <= INLINE:
                continue
            array = np.ascontiguousarray(tensor.numpy())
            half = halved(array) if halves else None
            if half is not None:
                array, value = half, widen(graph, initializer)
            padding = -position % ALIGNMENT if array.nbytes >= ALIGNED else 0
            content = array.tobytes()
            for part in (bytes(padding), content):
                file.write(part)
                digest.update(part)
            position += padding
            value.const_value = ir.ExternalTensor(
                path.name,
                position,
                len(content),
                tensor.dtype if half is None else ir.DataType.FLOAT16,
                shape=ir.Shape(array.shape),
                name=value.name or "",
                base_dir=path.parent,
            )
            position += len(content)
            advance(tensor.nbytes)
    if not position:
        path.unlink()
    return FileEntry(digest.hexdigest(), position)


def data_bytes(traced: Traced) -> int:
    """How many bytes of weights `write` is going to read."""
    values = traced.model.graph.initializers.values()
    sizes = [v.const_value.nbytes for v in values if v.const_value is not None]
    return sum(size for size in sizes if size > INLINE)
