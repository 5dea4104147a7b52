"""States that a graph updates in place are read by nothing but the node that updates them."""

import onnx
import onnx.parser
import pytest
from support.toy_codec import Toy, state, tensor

from kyutai_onnx.export.graphs.aliasing import unsafe_states
from kyutai_onnx.models.families import DEFAULT
from kyutai_onnx.models.resolve import embedded_demo
from kyutai_onnx.runtime.bundle.bundle import read_manifest
from kyutai_onnx.runtime.bundle.dataclass_json import parse
from kyutai_onnx.runtime.bundle.manifest import GraphSpec


def unsafe(body: str, *, opset: int = 18, carry: str = "in_place") -> list[str]:
    """What is said of a graph with one state, `s`, an input `x` and a place `i`."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : {opset}]>
        graph (float[4] s, float[4] x, int64[4] i, bool[4] c) => (float[4] s_next, float[4] y)
        {{ {body} }}
    """)
    spec = {
        "file": "graph.onnx",
        "inputs": [tensor("x", "float32", 4)],
        "active": tensor("c", "bool", 4),
        "outputs": [tensor("y", "float32", 4)],
        "states": [{**state("s", "float32", 4), "carry": carry}],
    }
    return unsafe_states(model, parse(GraphSpec, spec))


@pytest.mark.parametrize(
    "body",
    [
        "s_next = ScatterElements(s, i, x)  y = Exp(s_next)",
        "s_next = Where(c, x, s)  y = Exp(s_next)",
        "s_next = Where(c, s, x)  y = Exp(x)",
    ],
)
def test_a_state_read_by_its_writer_alone_is_safe(body: str) -> None:
    assert unsafe(body) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "s_next = Add(s, x)  e = Exp(s_next)  y = Mul(s, e)",
            "s: s_next is written by Add",
        ),
        (
            "s_next = ScatterElements(s, i, x)  e = Exp(s_next)  y = Mul(s, e)",
            "s: read by Mul ",
        ),
        (
            "s_next = ScatterElements(x, i, s)  y = Exp(s_next)",
            "s: the ScatterElements ",
        ),
        (
            "s_next = Where(c, s, s)  y = Exp(s_next)",
            "s: the Where ",
        ),
        ("y = Exp(s)", "s: no node writes s_next"),
        (
            "s_next = Where(c, x, s)  b = Constant <value = bool {1}> ()"
            "  y = If (b) <then_branch = then () => (float[4] t) { t = Exp(s) },"
            " else_branch = other () => (float[4] e) { e = Exp(x) }>",
            "s: read by Exp ",
        ),
    ],
)
def test_a_state_that_could_be_overwritten_before_it_is_read_is_named(body: str, why: str) -> None:
    (problem,) = unsafe(body)
    assert problem.startswith(why)


def test_a_state_that_is_replaced_may_be_read_by_anything() -> None:
    assert unsafe("s_next = Add(s, x)  y = Mul(s, s_next)", carry="replace") == []


@pytest.mark.parametrize("native", [True, False], ids=["native", "portable"])
def test_the_rings_of_the_toy_are_safe(native: bool) -> None:
    toy = Toy(native)
    spec = parse(GraphSpec, toy.spec())
    assert [s.input for s in spec.states if s.carry == "in_place"] == ["ring"]
    assert unsafe_states(toy.model(), spec) == []


def test_the_rings_of_the_embedded_demo_are_safe() -> None:
    folder = embedded_demo(DEFAULT).path
    graphs = read_manifest(folder).graphs.values()
    assert any(state.carry == "in_place" for graph in graphs for state in graph.states)
    for spec in graphs:
        model = onnx.load(folder / spec.file, load_external_data=False)
        assert unsafe_states(model, spec) == []
