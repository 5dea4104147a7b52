"""A graph that was traced for one number of rows, opened to any number.

Tracing with an open batch asks of every operator what it does to an unknown; with a fixed one it
is two to three times quicker. So the batch is traced as a prime that no other axis is a multiple
of, and where it shows in a shape it is opened again.
"""

import numpy as np
import onnx_ir as ir

ROWS = 8191
"""Rows that a graph is traced for; nothing of that size is ever allocated."""
OPEN = "batch"
LONGEST = 16
"""Axes of the longest shape; longer constants are no shapes."""


def open_batch(model: ir.Model) -> None:
    """Replaces `ROWS` by an open axis wherever it shows.

    Raises ValueError if a node makes the batch out of nothing: the graph cannot be opened.
    """
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs):
        _open_shape(value)
    for node in list(graph):
        for value in node.outputs:
            _open_shape(value)
        if node.op_type == "Reshape":
            _open_reshape(node, graph)
        elif node.op_type == "Expand":
            _open_expand(node, graph)
    for node in graph:
        if node.op_type != "Concat" and any(_shows(value) for value in node.inputs):
            raise ValueError(f"{node.op_type} {node.name} holds the number of rows")


def _open_shape(value: ir.Value) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([_open_axis(axis) for axis in value.shape])


def _open_axis(axis: object) -> int | str | None:
    if isinstance(axis, int):
        return axis if axis % ROWS or axis == 0 else (OPEN if axis == ROWS else None)
    return str(axis) if axis is not None else None


def _constant(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of a shape, which may be put together from constants."""
    if value is None:
        return None
    node = value.producer()
    if node is not None and node.op_type == "Concat":
        parts = [_constant(part) for part in node.inputs]
        whole = [part for part in parts if part is not None]
        return np.concatenate(whole) if len(whole) == len(parts) else None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.INT64 or tensor.size > LONGEST:
        return None
    return tensor.numpy().reshape(-1)


def _shows(value: ir.Value | None) -> bool:
    numbers = _constant(value)
    return numbers is not None and bool(np.any((numbers % ROWS == 0) & (numbers != 0)))


def _open_reshape(node: ir.Node, graph: ir.Graph) -> None:
    """The one axis of a new shape that is a multiple of the rows is whatever is left."""
    shape = _constant(node.inputs[1])
    if shape is None or not _shows(node.inputs[1]):
        return
    rows = (shape % ROWS == 0) & (shape != 0)
    if rows.sum() != 1 or (shape < 0).any():
        raise ValueError(f"{node.name} reshapes to {shape.tolist()}, which cannot be opened")
    _replace_shape(node, graph, [_numbers(np.where(rows, -1, shape))])


def _open_expand(node: ir.Node, graph: ir.Graph) -> None:
    """The first axis is as many rows as the graph is given."""
    shape = _constant(node.inputs[1])
    if shape is None or not _shows(node.inputs[1]):
        return
    if shape[0] != ROWS or (shape[1:] % ROWS == 0).any():
        raise ValueError(f"{node.name} expands to {shape.tolist()}, which cannot be opened")
    rows = ir.node("Shape", [graph.inputs[0]], {"start": 0, "end": 1})
    rest = _numbers(shape[1:])
    _replace_shape(
        node,
        graph,
        [rows, rest, ir.node("Concat", [rows.outputs[0], rest.outputs[0]], {"axis": 0})],
    )


def _numbers(values: np.ndarray) -> ir.Node:
    return ir.node("Constant", [], {"value": ir.tensor(values)})


def _replace_shape(node: ir.Node, graph: ir.Graph, nodes: list[ir.Node]) -> None:
    """Puts nodes before one, and gives it what the last of them makes as its new shape."""
    graph.insert_before(node, nodes)
    node.replace_input_with(1, nodes[-1].outputs[0])
