"""Which provider runs which nodes: asked of ONNX Runtime, and reported if another was meant."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.commands import Command

from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS, elsewhere, placement

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_every_node_of_a_graph_is_found_on_the_cpu() -> None:
    bundle = Bundle.open(DEMO / "stt")
    for graph in FrameBenchmark(bundle, threads=1).graphs():
        placed = graph.placement
        assert list(placed) == [CPU]
        assert placed[CPU]["MatMul"] + placed[CPU]["MatMulNBits"] > 0
        assert not elsewhere(placed, graph.provider.onnxruntime_name)
        assert elsewhere(placed, CUDA)[CPU]["Softmax"] == placed[CPU]["Softmax"] > 0


def test_shapes_may_be_worked_out_elsewhere() -> None:
    placed = {CUDA: Counter(Conv=3), CPU: Counter(Shape=1, Range=2)}
    assert elsewhere(placed, CUDA) == {}
    placed[CPU]["Elu"] = 4
    assert elsewhere(placed, CUDA) == {CPU: {"Elu": 4}}


def test_an_onnxruntime_that_cannot_report_reports_nothing() -> None:
    assert placement(SimpleNamespace()) == {}


def test_bench_reports_what_computes_elsewhere(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = json.loads(command("bench", "--model", DEMO / "stt", "--frames", 2, "--json").out)
    assert reported["elsewhere"] == {}
    assert reported["cuda_graphs"] == []
    nodes = reported["placement"]["temporal_transformer"]
    assert list(nodes) == [CPU]
    assert nodes[CPU]["Softmax"] > 0
    asked = replace(PROVIDERS["cpu"], onnxruntime_name=CUDA)
    opened = Graph.__init__

    def open_elsewhere(graph: Graph, *arguments: object, **named: object) -> None:
        opened(graph, *arguments, **named)  # type: ignore[arg-type]
        graph.provider = asked

    monkeypatch.setattr(Graph, "__init__", open_elsewhere)
    table = command("bench", "--model", DEMO / "stt", "--frames", 2).out.splitlines()
    (line,) = [row for row in table if row.startswith("temporal transformer computes elsewhere")]
    assert f"{nodes[CPU]['Softmax']} Softmax" in line
