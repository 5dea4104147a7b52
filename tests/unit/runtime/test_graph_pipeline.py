"""Graphs that run one after the other are stepped, saved and reset as one."""

from pathlib import Path

import numpy as np
import onnx.parser
from support.toy_codec import (
    Toy,
    expected,
    read_manifest,
    serialized,
    state,
    tensor,
    write_bundle,
    write_manifest,
)

from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.batch_state import PipelineState
from kyutai_onnx.runtime.graph.graph import GraphPipeline
from kyutai_onnx.runtime.providers.provider import PROVIDERS

DOUBLE = """
<ir_version: 10, opset_import: ["" : 18]>
double (float[batch, 1, width] pcm, bool[batch] active, int64[batch] steps)
=> (float[batch, 1, width] latent, int64[batch] steps_next)
<float factor = {2.0}, int64 one = {1}>
{
    latent = Mul(pcm, factor)
    more = Add(steps, one)
    steps_next = Where(active, more, steps)
}
"""


def pipeline(folder: Path, target: str = "cpu", runs_on: str | None = None) -> GraphPipeline:
    """A graph that doubles the samples, and a toy that takes them."""
    toy = Toy(takes="latent")
    double = {
        "file": "double.onnx",
        "inputs": [tensor("pcm", "float32", "batch", 1, "2*frames")],
        "active": tensor("active", "bool", "batch"),
        "outputs": [tensor("latent", "float32", "batch", 1, "2*frames")],
        "states": [state("steps", "int64", "batch")],
        "max_frames": 25,
        "runs_on": runs_on,
    }
    graphs = {"double": double, "toy": {**toy.spec(), "runs_on": runs_on}}
    models = {"double.onnx": onnx.parser.parse_model(DOUBLE), "toy.onnx": toy.model()}
    write_bundle(folder, graphs, {name: serialized(model) for name, model in models.items()})
    content = read_manifest(folder)
    content["codec"]["encoder"], content["target"] = list(graphs), target
    write_manifest(folder, content)
    bundle = Bundle.open(folder)
    return GraphPipeline(
        bundle, bundle.manifest.codec.encoder, PROVIDERS[bundle.manifest.target], 1
    )


def test_a_pipeline_steps_saves_and_resets_as_one_graph(tmp_path: Path) -> None:
    graphs = pipeline(tmp_path)
    read = np.random.default_rng(0).integers(-9, 10, (20, 2)).astype(np.float32)
    assert graphs.max_frames == 3
    first, second = PipelineState(graphs, 2), PipelineState(graphs, 1)
    for frame in read[:9]:
        first.step({"pcm": np.tile(frame, (2, 1, 1))}, [False, True])
    saved = first.save(1)
    assert set(saved) == {"steps", "offset", "total", "ring"}
    assert saved["steps"] == saved["offset"] == 9
    second.load(0, saved)
    codes = [second.step({"pcm": frame[None, None]})["codes"][0].tolist() for frame in read[9:]]
    assert codes == [expected(list(2 * read[: end + 1])).tolist() for end in range(9, 20)]
    second.reset()
    assert second.save(0)["steps"] == second.save(0)["offset"] == 0


def test_a_graph_runs_where_the_manifest_puts_it(tmp_path: Path) -> None:
    graphs = pipeline(tmp_path, target="coreml", runs_on="cpu").graphs
    assert [graph.provider.name for graph in graphs] == ["cpu", "cpu"]
