"""Traces a step into ONNX without its weights, and writes it with them, one tensor at a time."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..checkpoint.tensors import Tensors
from ..modules.step import materialize
from ..quantization.fp16_storage import halved, widen
from .dynamic_batch import ROWS, open_batch
from .step_module import ACTIVE, NEXT, Axis, Port, StepModule

EXAMPLE = {"batch": 2, "frames": 3}
INLINE = 1024
"""Bytes up to which a constant stays inside the .onnx file."""
ALIGNED, ALIGNMENT = 1 << 20, 4096
"""Tensors from so many bytes on start at a multiple of so many, so that they can be mapped."""


@dataclass(frozen=True)
class Sizes:
    """The axes that a graph leaves open, `None`, or fixes."""

    batch: int | None = None
    frames: int | None = None
    most_frames: int = 1


@dataclass(frozen=True)
class Traced:
    """A graph whose weights are yet to be read, and the module that knows how."""

    module: StepModule
    model: ir.Model
    sizes: Sizes


@dataclass(frozen=True)
class Written:
    """A file of the bundle: its name, its size in bytes and its sha256."""

    name: str
    bytes: int
    sha256: str


def trace(build: Callable[[], StepModule], sizes: Sizes) -> Traced:
    """Traces the module that `build` makes; no weight is allocated, whatever its size."""
    with FakeTensorMode():
        module = build().eval()
        ports, states = module.inputs(), module.states()
        opens = sizes.batch is None and not any(_has_frames(port) for port in ports)
        asked, sizes = sizes, replace(sizes, batch=ROWS) if opens else sizes
        inputs = tuple(_example(port, sizes) for port in ports)
        active = _example(module.active(), sizes)
        carried = tuple(
            torch.zeros(_extent("batch", sizes), *state.shape, dtype=state.dtype)
            for state in states
        )
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (inputs, active, carried)[: 3 if states else 2],
            dynamo=True,
            opset_version=module.dialect.opset,
            dynamic_shapes=_dynamic_shapes(ports, len(states), sizes),
            input_names=[*(p.name for p in ports), ACTIVE, *(s.name for s in states)],
            output_names=[
                *(p.name for p in module.outputs()),
                *(s.name + NEXT for s in states if s.carry != "constant"),
            ],
            optimize=False,
            verbose=False,
        )
    assert program is not None
    if opens:
        open_batch(program.model)
    return Traced(module, program.model, asked)


def _has_frames(port: Port) -> bool:
    """Whether a call may bring several frames."""
    names = (axis[1] if isinstance(axis, tuple) else axis for axis in port.shape)
    return "frames" in names


def _extent(axis: Axis, sizes: Sizes) -> int:
    if isinstance(axis, int):
        return axis
    if isinstance(axis, tuple):
        return axis[0] * _extent(axis[1], sizes)
    fixed: int | None = getattr(sizes, axis)
    return fixed or min(EXAMPLE[axis], sizes.most_frames if axis == "frames" else 2)


def _example(port: Port, sizes: Sizes) -> Tensor:
    return torch.zeros([_extent(axis, sizes) for axis in port.shape], dtype=port.dtype)


def _dynamic_shapes(ports: list[Port], states: int, sizes: Sizes) -> tuple[object, ...] | None:
    dims = {
        "batch": None if sizes.batch else torch.export.Dim("batch", min=1, max=4096),
        "frames": None
        if sizes.frames
        else torch.export.Dim("frames", min=1, max=max(2, sizes.most_frames)),
    }

    def axes(shape: tuple[Axis, ...]) -> dict[int, object]:
        open_axes: dict[int, object] = {}
        for index, axis in enumerate(shape):
            factor, name = axis if isinstance(axis, tuple) else (1, axis)
            dim = dims.get(name) if isinstance(name, str) else None
            if dim is not None:
                open_axes[index] = factor * dim if factor > 1 else dim
        return open_axes

    row = axes(("batch",))
    shapes = tuple(axes(port.shape) for port in ports)
    return (shapes, row, (row,) * states) if states else (shapes, row)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its own internals; what matters is checked afterwards."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def fill(traced: Traced, tensors: Tensors) -> None:
    """Gives every weight a value that is read when it is asked for, then simplifies the graph."""
    for name, value in traced.model.graph.initializers.items():
        shape, dtype = value.shape, value.dtype
        assert shape is not None
        assert dtype is not None

        def read(name: str = name) -> ir.TensorProtocol:
            return ir.tensor(materialize(traced.module, name, tensors), name=name)

        value.const_value = ir.LazyTensor(read, dtype=dtype, shape=shape, name=name)
    with _quiet():
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


def write(traced: Traced, folder: Path, name: str, advance: Callable[[int], None]) -> list[Written]:
    """Writes `name.onnx` and its data file; `advance` is told the bytes of each tensor."""
    data_name = f"{name}.data"
    halves = traced.module.dialect.folds_casts
    data = _write_data(traced.model.graph, folder / data_name, advance, halves=halves)
    graph_path = folder / f"{name}.onnx"
    ir.save(traced.model, graph_path)
    content = graph_path.read_bytes()
    graph = Written(graph_path.name, len(content), hashlib.sha256(content).hexdigest())
    return [graph, data] if data.bytes else [graph]


def _write_data(
    graph: ir.Graph, path: Path, advance: Callable[[int], None], *, halves: bool
) -> Written:
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
    return Written(path.name, position, digest.hexdigest())


def data_bytes(traced: Traced) -> int:
    """How many bytes of weights `write` is going to read."""
    values = traced.model.graph.initializers.values()
    sizes = [v.const_value.nbytes for v in values if v.const_value is not None]
    return sum(size for size in sizes if size > INLINE)
