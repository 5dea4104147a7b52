"""Weights that are stored in 16 bits where that loses nothing."""

import pytest

pytest.importorskip("onnxscript", reason="tracing needs onnxscript")
pytest.importorskip("torch", reason="tracing needs torch")

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from kyutai_onnx.export.graphs.graph_template import widen

EXACT = np.array([[0.5, -1.25], [3.0, 2.0**-24]], np.float32)


def product(weight: "np.ndarray[Any, Any]") -> ir.Model:
    """`y [1, 2] = x [1, 2] weight`, written twice so that the weight has two readers."""
    w = ir.Value(
        name="w",
        shape=ir.Shape(weight.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(weight, name="w"),
    )
    x, y = (
        ir.Value(name=name, shape=ir.Shape([1, 2]), type=ir.TensorType(ir.DataType.FLOAT))
        for name in "xy"
    )
    once, twice = ir.node("MatMul", [x, w]), ir.node("MatMul", [x, w])
    total = ir.node("Add", [once.outputs[0], twice.outputs[0]], outputs=[y])
    graph = ir.Graph(
        [x], [y], nodes=[once, twice, total], initializers=[w], opset_imports={"": 18}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def run(model: ir.Model, x: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    content = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


def test_a_graph_computes_the_same_with_weights_of_half_the_size() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2)).astype(np.float32)
    before = run(product(EXACT), x)
    model, half = product(EXACT), EXACT.astype(np.float16)
    widen(model.graph, model.graph.initializers["w"], ir.tensor(half, name="w.half"))
    assert list(model.graph.initializers) == ["w.half"]
    np.testing.assert_array_equal(run(model, x), before)
