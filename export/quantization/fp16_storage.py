"""Weights that lose nothing in 16 bits: stored in 16, widened when a session is made.

ONNX Runtime folds the Cast of a constant as it loads a graph, so that every step computes on the
same float32 weights as ever; only the file is half as large.
"""

import numpy as np
import onnx_ir as ir

from ...runtime.typing import Array


def halved(array: Array) -> Array | None:
    """Convert a float32 array to float16 if that loses nothing; else return None."""
    if array.dtype != np.float32:
        return None
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half, array) else None


def widen(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """Puts a Cast between a float32 initializer and its readers; returns the float16 one that
    takes its place, yet without content."""
    assert value.name is not None
    stored = ir.Value(
        name=f"{value.name}.half", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT16)
    )
    cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT})
    wide = cast.outputs[0]
    wide.type, wide.shape = value.type, value.shape
    value.replace_all_uses_with(wide)
    del graph.initializers[value.name]
    wide.name = value.name
    graph.insert_before(graph[0], cast)
    stored.const_value = value.const_value
    graph.register_initializer(stored)
    return stored
