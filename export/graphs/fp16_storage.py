"""Weights that lose nothing in 16 bits: stored in 16, widened when a session is made.

ONNX Runtime folds the Cast of a constant as it loads a graph, so that every step computes on the
same float32 weights as ever; only the file is half as large.
"""

import onnx_ir as ir


def widen(graph: ir.Graph, value: ir.Value, half: ir.TensorProtocol) -> None:
    """Puts a float16 initializer and a Cast in the place of a float32 initializer."""
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
