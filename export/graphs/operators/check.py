"""The check of a graph, node by node, against the table of the provider it is made for."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from .element_types import element_types
from .signature import Signature, domain_of, opset_versions, signature
from .table import Kernel, Table, load_table

SHAPE_OPERATORS = frozenset({"Shape", "Size"})
SHAPE_TYPES = frozenset({"int64", "int32", "bool"})


@dataclass(frozen=True)
class Unsupported:
    """A node that the provider does not run, and why in one line."""

    node: str
    operator: str
    domain: str
    since_version: int
    element_type: str
    """The element type that no kernel takes; empty if the types are not the reason."""
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


@dataclass(frozen=True)
class _Call:
    """A node, its signature and the element types of its type variables."""

    node: onnx.NodeProto
    signature: Signature | None
    bound: Mapping[str, str]
    untyped: tuple[str, ...]

    def unsupported(self, reason: str, element_type: str = "") -> Unsupported:
        return Unsupported(
            node=self.node.name or next(iter(self.node.output), ""),
            operator=self.node.op_type,
            domain=domain_of(self.node),
            since_version=self.signature.since if self.signature else 0,
            element_type=element_type,
            reason=reason,
        )


def check_graph(
    model: onnx.ModelProto | Path,
    provider: str,
    *,
    allow_shape_nodes: bool = True,
    options: Collection[str] = (),
) -> list[Unsupported]:
    """The nodes of `model` that `provider` does not run; empty if it runs them all.

    A path is read without its external data. `options` names provider options that are set
    ("enableInt64" for webgpu). Values whose element type cannot be found are not passed over in
    silence: an entry of their own counts them.

    With `allow_shape_nodes`, a node that the provider lacks still passes if the CPU runs it and
    it is shape computation: all its inputs are constants (ONNX Runtime folds it at load), or
    constants and integers that come from Shape or Size alone (ONNX Runtime keeps it on the CPU),
    or it asks the shape of an input, which the host feeds.

    Raises `UsageError` for an unknown provider.
    """
    table = load_table(provider)
    if isinstance(model, Path):
        model = onnx.load(model, load_external_data=False)
    types = element_types(model)
    shape_nodes = _shape_nodes(model.graph, types) if allow_shape_nodes else frozenset()
    calls = list(_calls(model, types))
    found = []
    for index, call in enumerate(calls):
        problem = _problem(call, table, options)
        if problem and index in shape_nodes:
            problem = _problem(call, load_table("cpu"), ())
        if problem:
            found.append(problem)
    return found + _unchecked(calls, table)


def _calls(model: onnx.ModelProto, types: Mapping[str, str]) -> Iterator[_Call]:
    opsets = opset_versions(model)
    for node in model.graph.node:
        called = signature(node, opsets)
        if called is None:
            yield _Call(node, None, {}, ())
            continue
        values = [*called.input_types(node), *called.output_types(node)]
        bound = {variable: types[value] for value, variable in values if value in types}
        untyped = tuple(value for value, _ in values if value not in types)
        yield _Call(node, called, bound, untyped)


def _problem(call: _Call, table: Table, options: Collection[str]) -> Unsupported | None:
    domain, operator = domain_of(call.node), call.node.op_type
    if (domain, operator) == ("ai.onnx", "Constant"):
        return None
    name = operator if domain == "ai.onnx" else f"{domain}.{operator}"
    kernels = table.operators.get((domain, operator), ())
    if not kernels:
        return call.unsupported(f"{table.provider} has no kernel for {name}")
    if call.signature is None:
        return call.unsupported(f"no schema of {name} is known in the model's opsets")
    since = call.signature.since
    matching = [kernel for kernel in kernels if kernel.runs_version(since)]
    if not matching:
        listed = " ".join(kernel.since for kernel in kernels)
        return call.unsupported(f"{table.provider} runs {name} of versions {listed}, not {since}")
    return _type_problem(call, table.provider, f"{name} {since}", matching, options)


def _type_problem(
    call: _Call, provider: str, name: str, kernels: Sequence[Kernel], options: Collection[str]
) -> Unsupported | None:
    enabled = [kernel for kernel in kernels if kernel.option is None or kernel.option in options]
    refused = [kernel.refused(call.bound) for kernel in enabled]
    if not all(refused):
        return None
    wanted = {kernel.option for kernel in kernels if not kernel.refused(call.bound)}
    variable = min(refused, key=len)[0] if refused else ""
    element = call.bound.get(variable, "")
    taken = sorted(frozenset[str]().union(*(kernel.types.get(variable, ()) for kernel in enabled)))
    hint = "".join(f"; the option {option} adds it" for option in sorted(filter(None, wanted)))
    reason = f"{provider} runs {name} with {variable} {', '.join(taken)}, not {element}{hint}"
    return call.unsupported(reason, element)


def _unchecked(calls: Sequence[_Call], table: Table) -> list[Unsupported]:
    """One entry that counts the values whose element type is unknown."""
    values = sorted({value for call in calls for value in call.untyped})
    if not values:
        return []
    what = "value has" if len(values) == 1 else "values have"
    reason = (
        f"{len(values)} {what} no known element type and stayed unchecked on {table.provider}, "
        f"first {values[0]}"
    )
    return [Unsupported("", "", "", 0, "", reason)]


def _shape_nodes(graph: onnx.GraphProto, types: Mapping[str, str]) -> frozenset[int]:
    """The indices of the nodes that are shape computation, as `check_graph` defines it."""
    fed = {value.name for value in graph.input}
    constants = {tensor.name for tensor in graph.initializer} - fed
    shapes: set[str] = set()
    found = set()
    for index, node in enumerate(graph.node):
        inputs = {name for name in node.input if name}
        if node.op_type == "Constant" or (inputs and inputs <= constants):
            constants.update(node.output)
            found.add(index)
        elif node.op_type in SHAPE_OPERATORS:
            shapes.update(node.output)
            if inputs <= fed:
                found.add(index)
        elif inputs and inputs <= constants | shapes and _integers(node, types):
            shapes.update(node.output)
            found.add(index)
    return frozenset(found)


def _integers(node: onnx.NodeProto, types: Mapping[str, str]) -> bool:
    return all(types.get(name) in SHAPE_TYPES for name in node.output if name)
