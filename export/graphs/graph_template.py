"""Makes the template of a graph: traced, simplified, and written without its weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch
from onnxscript.rewriter.pattern import MatchResult, SimplePatternMatcher

from ...conversion.filling.formula import Formula
from ...conversion.filling.template import GraphTemplate, TemplateTensor, TensorSet
from ...runtime.bundle.manifest import GraphSpec, Ring, StateSpec, TensorSpec
from ...runtime.bundle.manifest import Target as TargetName
from ..modules.step import StateSpec as ModuleState
from ..modules.step import source_of
from .step_module import NEXT, Axis, Port, StepModule
from .trace import Sizes, Traced, quiet, trace

LEAST_HALVED = 1024
"""Bytes up to which a weight keeps its 32 bits."""
ALIGNED = 1 << 20
"""Bytes from which on a tensor starts at a multiple of a page, so that it can be mapped."""
PAGE, WORD = 4096, 16

DTYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.bool: "bool",
    torch.int8: "int8",
}


@dataclass(frozen=True)
class GraphPlan:
    """A graph to be written: its name, how its module is made, and where its weights are.

    `halves` stores weights in 16 bits where they are float32 and only moved.
    """

    name: str
    build: Callable[[], StepModule]
    weights: TensorSet
    sizes: Sizes
    halves: bool = False
    runs_on: TargetName | None = None


def graph_template(plan: GraphPlan) -> GraphTemplate:
    """Trace a graph; no weight is read or allocated."""
    traced = trace(plan.build, plan.sizes)
    formulas = _assign(traced)
    with quiet(), _first_operators():
        onnxscript.optimizer.optimize(traced.model)
    _strip(traced.model)
    halves = plan.halves and traced.module.dialect.folds_casts
    data = f"{plan.name}.data"
    tensors = tuple(_lay_out(traced.model.graph, formulas, data, halves=halves))
    model = ir.serde.serialize_model(traced.model).SerializeToString()
    spec = _graph_spec(plan, traced.module, data if tensors else None)
    return GraphTemplate(plan.weights, spec, model, tensors)


@contextmanager
def _first_operators() -> Iterator[None]:
    """Try a rule of the optimizer only on nodes with the operator that its pattern begins with.

    No other node matches; without this the optimizer lists all nodes of the graph for each of them.
    """
    match = SimplePatternMatcher.match

    def match_first(
        self: SimplePatternMatcher, model: ir.Model, graph: ir.Graph, node: ir.Node, **options: Any
    ) -> MatchResult:
        if not self.pattern.output_nodes[0].op.matches(node.op_type):
            return MatchResult().fail("another operator")
        return match(self, model, graph, node, **options)

    SimplePatternMatcher.match = match_first  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        SimplePatternMatcher.match = match  # type: ignore[method-assign]


def _assign(traced: Traced) -> dict[str, Formula]:
    """The formulas of the weights by name. What does not depend on the checkpoint becomes a
    constant of the graph; of the rest the optimizer sees no values, so that it folds none."""
    formulas: dict[str, Formula] = {}
    for name, value in traced.model.graph.initializers.items():
        source = source_of(traced.module, name)
        if isinstance(source, Formula):
            formulas[name], value.const_value = source, None
        else:
            value.const_value = ir.tensor(np.ascontiguousarray(source), name=name)
    return formulas


def _strip(model: ir.Model) -> None:
    """Removes what the exporter notes about its own run: the places in source files, above all."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    model.producer_name, model.producer_version = "kyutai-onnx", None


def _lay_out(
    graph: ir.Graph, formulas: dict[str, Formula], data: str, *, halves: bool
) -> list[TemplateTensor]:
    """Gives every tensor of the checkpoint its place in the data file."""
    tensors: list[TemplateTensor] = []
    position = 0
    for value in list(graph.initializers.values()):
        name, formula = value.name, formulas.get(value.name or "")
        if formula is None:
            continue
        assert name is not None
        assert value.shape is not None
        assert value.dtype is not None
        shape, dtype = value.shape.numpy(), value.dtype
        half = halves and dtype is ir.DataType.FLOAT and formula.moves_only
        half = half and math.prod(shape) * 4 > LEAST_HALVED
        if half:
            name, dtype, formula = f"{name}.half", ir.DataType.FLOAT16, formula.then("halve")
        size = math.prod(shape) * dtype.numpy().itemsize
        position += -position % (PAGE if size >= ALIGNED else WORD)
        tensors.append(TemplateTensor(name, dtype.numpy().name, shape, position, formula))
        content = ir.ExternalTensor(data, position, size, dtype, shape=ir.Shape(shape), name=name)
        if half:
            widen(graph, value, content)
        else:
            value.const_value = content
        position += size
    return tensors


def widen(graph: ir.Graph, value: ir.Value, half: ir.TensorProtocol) -> None:
    """Put a float16 initializer and a Cast in the place of a float32 initializer.

    ONNX Runtime folds the Cast of a constant as it loads a graph, so that every step computes on
    the same float32 weights; only the file is half as large.
    """
    assert value.name is not None
    stored = ir.Value(
        name=half.name,
        shape=value.shape,
        type=ir.TensorType(ir.DataType.FLOAT16),
        const_value=half,
    )
    cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT})
    wide = cast.outputs[0]
    wide.type, wide.shape = value.type, value.shape
    value.replace_all_uses_with(wide)
    del graph.initializers[value.name]
    wide.name = value.name
    graph.insert_before(graph[0], cast)
    graph.register_initializer(stored)


def _graph_spec(plan: GraphPlan, module: StepModule, data: str | None) -> GraphSpec:
    sizes = plan.sizes
    return GraphSpec(
        file=f"{plan.name}.onnx",
        data=data,
        inputs=tuple(_port(port, sizes) for port in module.inputs()),
        active=_port(module.active(), sizes),
        outputs=tuple(_port(port, sizes) for port in module.outputs()),
        states=tuple(_state(state, sizes) for state in module.states()),
        max_frames=sizes.most_frames,
        runs_on=plan.runs_on,
    )


def _port(port: Port, sizes: Sizes) -> TensorSpec:
    shape = tuple(_axis(axis, sizes) for axis in port.shape)
    return TensorSpec(port.name, DTYPES[port.dtype], shape)  # type: ignore[arg-type]


def _state(state: ModuleState, sizes: Sizes) -> StateSpec:
    return StateSpec(
        input=state.name,
        output=None if state.carry == "constant" else state.name + NEXT,
        dtype=DTYPES[state.dtype],  # type: ignore[arg-type]
        shape=(_axis("batch", sizes), *state.shape),
        initial=state.initial,
        carry=state.carry,
        ring=None if state.position is None else Ring(2, state.position),
    )


def _axis(axis: Axis, sizes: Sizes) -> int | str:
    factor, name = axis if isinstance(axis, tuple) else (1, axis)
    if isinstance(name, int):
        return name
    fixed: int | None = getattr(sizes, name)
    if fixed is not None:
        return factor * fixed
    return name if factor == 1 else f"{factor}*{name}"
