"""Traces a step module into an ONNX graph without its weights."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from .dynamic_batch import ROWS, open_batch
from .step_module import ACTIVE, NEXT, Axis, Port, StepModule

EXAMPLE = {"batch": 2, "frames": 3}


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
    with quiet(), torch.no_grad():
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
def quiet() -> Iterator[None]:
    """The exporter speaks of its own internals; what matters is checked afterwards."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
