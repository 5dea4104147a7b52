"""Every graph of every flavour holds to what its provider runs, and may be updated in place."""

from pathlib import Path

import onnx
import pytest
from support.parity.fixtures import Bundles, Checkpoints

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions
from kyutai_onnx.conversion.filling.template import design_of
from kyutai_onnx.export.graphs.aliasing import unsafe_states
from kyutai_onnx.export.graphs.graph_template import graph_template
from kyutai_onnx.export.graphs.operators import check_graph
from kyutai_onnx.export.plan import plan_bundle
from kyutai_onnx.runtime.bundle.manifest import GraphSpec, Precision

OPTIONS = {"webgpu": ("enableInt64",)}
ROUNDED = [
    (target.name, precision)
    for target in TARGETS.values()
    for precision in target.precisions
    if precision != "fp32" and target.name != "coreml"
]

SPEAKING: list[tuple[str, Precision]] = [
    ("cpu", "int8"),
    ("directml", "fp16"),
    ("webgpu", "int4"),
]


def check(path: Path, spec: GraphSpec, provider: str) -> None:
    model = onnx.load(path, load_external_data=False)
    unsupported = check_graph(model, provider, options=OPTIONS.get(provider, ()))
    assert not unsupported, f"{path.name}: {[str(problem) for problem in unsupported]}"
    assert not unsafe_states(model, spec), path.name


@pytest.mark.parametrize("target", TARGETS)
def test_every_node_runs_where_its_graph_is_meant_to(target: str, bundle: Bundles) -> None:
    made = bundle("mimi", "stt", target=target)
    for graph in made.manifest.graphs.values():
        check(made.file(graph.file), graph, graph.runs_on or target)


def check_language_model(folder: Path, target: str, precision: Precision, out: Path) -> list[str]:
    """Writes and checks the graphs of a checkpoint's language model; returns their names."""
    made = open_checkpoint(str(folder))
    chosen = TARGETS[target]  # type: ignore[index]
    precisions = Precisions(precision, cache=chosen.default_cache(precision))
    planned = plan_bundle(design_of(made, chosen, precisions)).lm
    for graph in planned:
        template = graph_template(graph)
        spec = template.spec
        (out / spec.file).write_bytes(template.model)
        check(out / spec.file, spec, spec.runs_on or target)
    return [graph.name for graph in planned]


@pytest.mark.parametrize(("target", "precision"), ROUNDED)
def test_so_do_the_nodes_of_lower_precisions(
    target: str, precision: Precision, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    folder = checkpoint("mimi", "one-layer")
    assert len(check_language_model(folder, target, precision, tmp_path)) == 1


@pytest.mark.parametrize(("target", "precision"), SPEAKING)
def test_so_do_those_of_models_that_speak(
    target: str, precision: Precision, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    graphs = check_language_model(checkpoint("light", "tts"), target, precision, tmp_path)
    assert graphs == ["temporal_transformer", "depth_transformer", "conditions"]


def test_a_fixed_batch_leaves_no_axis_open(bundle: Bundles) -> None:
    made = bundle("mimi", "stt", target="coreml")
    for graph in made.manifest.graphs.values():
        if graph.runs_on is None:
            shapes = [port.shape for port in (*graph.inputs, graph.active, *graph.outputs)]
            shapes += [state.shape for state in graph.states]
            assert all(isinstance(axis, int) for shape in shapes for axis in shape)
