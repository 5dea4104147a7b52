"""A graph cut down to some of its outputs, by its bytes alone."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from kyutai_onnx.runtime.errors import ModelError
from kyutai_onnx.runtime.providers.onnx_file import prune
from kyutai_onnx.runtime.providers.provider import PROVIDERS, make_session

TEXT = """
<ir_version: 10, opset_import: ["" : 18]>
steps (float[n] x) => (float[n] first, float[n] second, float[n] third)
<float one = {1.0}, float two = {2.0}, float three = {3.0}>
{
    first = Add(x, one)
    between = Mul(first, two)
    second = Clip(between, , two)
    third = Sub(second, three)
}
"""


def model() -> bytes:
    content: bytes = onnx.parser.parse_model(TEXT).SerializeToString()
    return content


def cut(*outputs: str) -> onnx.GraphProto:
    pruned = onnx.load_from_string(prune(model(), outputs))
    onnx.checker.check_model(pruned)
    return pruned.graph


@pytest.mark.parametrize(
    ("outputs", "nodes", "weights"),
    [
        (["first"], 1, {"one"}),
        (["second"], 3, {"one", "two"}),
        (["first", "second"], 3, {"one", "two"}),
        (["first", "second", "third"], 4, {"one", "two", "three"}),
    ],
)
def test_what_the_other_outputs_need_is_gone(
    outputs: list[str], nodes: int, weights: set[str]
) -> None:
    graph = cut(*outputs)
    assert [output.name for output in graph.output] == outputs
    assert len(graph.node) == nodes
    assert {weight.name for weight in graph.initializer} == weights
    assert [port.name for port in graph.input] == ["x"]


def test_all_outputs_leave_the_bytes_as_they_are() -> None:
    assert prune(model(), ["first", "second", "third"]) == model()


def test_a_pruned_graph_finds_its_weights_beside_the_whole_one(tmp_path: Path) -> None:
    whole = onnx.load_from_string(model())
    for weight in whole.graph.initializer:
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full(300, 7.0, np.float32), weight.name))
    path = tmp_path / "steps.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="steps.data", size_threshold=100)
    session = make_session(path, PROVIDERS["cpu"], 1, ["first"])
    (first,) = session.run(None, {"x": np.ones(300, np.float32)})
    assert first.tolist() == [8.0] * 300


@pytest.mark.parametrize("length", [1, 20, 100, 150])
def test_a_graph_that_is_cut_short_is_an_error(length: int) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        prune(model()[:length], ["first"])


@pytest.mark.parametrize(
    "content", [b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x04\x0a\x02\x0a\x09"]
)
def test_what_is_no_graph_is_an_error(content: bytes) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        prune(content, ["first"])
