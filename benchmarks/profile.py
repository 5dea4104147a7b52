"""Where the time of a frame goes, node by node, and what of it the hardware does not allow to save.

python -m benchmarks.profile BUNDLE [--threads 2] [--batch 1] [--frames 20] [--top 12]
"""

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper

from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.models.resolve import open_folder
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers import provider as providers
from kyutai_onnx.runtime.providers.onnx_file import prune
from kyutai_onnx.runtime.providers.provider import Provider

from .machine import Machine, measure_machine

SUFFIX = "_kernel_time"
MANY_STEPS = 16
"""Rows from which a product is bound by arithmetic and no longer by reading its weight."""


@dataclass(frozen=True)
class Node:
    """A kernel of one frame: seconds, and multiplications over many rows."""

    operator: str
    seconds: float
    multiplications: int


@dataclass(frozen=True)
class Floor:
    """What a graph must move and multiply in a frame."""

    weight_bytes: int
    state_bytes: int
    multiplications: int

    def seconds(self, machine: Machine) -> float:
        moved = (self.weight_bytes + self.state_bytes) / machine.read_bandwidth
        return moved + self.multiplications / machine.multiplications


def profile(open_loop: Callable[[], FrameBenchmark], frames: int) -> list[tuple[Graph, list[Node]]]:
    """The graphs and their kernels, the times of these the mean of so many frames."""
    plain = providers.session_options
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def options(provider: Provider, threads: int | None) -> Any:
            made = plain(provider, threads)
            made.enable_profiling = True
            made.profile_file_prefix = f"{folder}/{next(numbers)}"
            return made

        with mock.patch.object(providers, "session_options", options):
            loop = open_loop()
        for _ in range(frames):
            loop.step()
        files = {graph.name: Path(graph.session.end_profiling()) for graph in loop.graphs()}
        events = {name: json.loads(file.read_text()) for name, file in files.items()}
    return [
        (graph, list(_nodes(events[graph.name], kernels_of(loop.bundle, graph), frames)))
        for graph in loop.graphs()
    ]


def kernels_of(bundle: Bundle, graph: Graph) -> dict[str, int]:
    """Multiplications by one input sample, or output sample, of each convolution, by its name."""
    model = _model(bundle, graph)
    weights, widened = _weights(model)
    return {
        node.name: math.prod(weights[widened.get(node.input[1], node.input[1])].dims[1:])
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose")
    }


def _model(bundle: Bundle, graph: Graph) -> onnx.ModelProto:
    """The graph as it was opened: with fewer outputs where fewer codebooks are made."""
    kept = [port.name for port in graph.spec.outputs]
    kept += [state.output for state in graph.spec.states if state.output is not None]
    whole = onnx.ModelProto()
    whole.ParseFromString(prune(bundle.file(graph.spec.file).read_bytes(), kept))
    return whole


def _weights(model: onnx.ModelProto) -> tuple[dict[str, TensorProto], dict[str, str]]:
    """The weights by their names, and which of them a cast widens, by its output."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = (node for node in model.graph.node if node.op_type == "Cast")
    return weights, {node.output[0]: node.input[0] for node in casts if node.input[0] in weights}


def _nodes(
    events: Iterable[dict[str, Any]], kernels: dict[str, int], frames: int
) -> Iterator[Node]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(SUFFIX):
            found[event["args"]["node_index"]].append(event)
    for runs in found.values():
        reported, name = runs[-1]["args"], runs[-1]["name"].removesuffix(SUFFIX)
        seconds = sum(run["dur"] for run in runs[-frames:]) / 1e6 / frames
        yield Node(reported["op_name"], seconds, _multiplications(reported, kernels.get(name, 0)))


def _multiplications(reported: dict[str, Any], kernel: int) -> int:
    """Of the products and convolutions that have many rows."""
    inputs, outputs = (
        [next(iter(tensor.values())) for tensor in reported[key]]
        for key in ("input_type_shape", "output_type_shape")
    )
    match reported["op_name"]:
        case "MatMul" | "FusedMatMul" | "Gemm" | "MatMulNBits":
            rows, made = math.prod(outputs[0][:-1]), math.prod(outputs[0]) * inputs[0][-1]
        case "Conv":
            rows, made = outputs[0][0] * outputs[0][2], math.prod(outputs[0]) * kernel
        case "ConvTranspose":
            rows, made = inputs[0][0] * inputs[0][2], math.prod(inputs[0]) * kernel
        case _:
            return 0
    return made if rows >= MANY_STEPS else 0


def floor(bundle: Bundle, graph: Graph, nodes: Iterable[Node], batch: int) -> Floor:
    """Weights once, full rings and constant states of every row, and what is multiplied often."""
    states = sum(
        math.prod(int(axis) for axis in spec.shape[1:]) * np.dtype(spec.dtype).itemsize
        for spec in graph.spec.states
        if spec.ring is not None or spec.carry == "constant"
    )
    multiplications = sum(node.multiplications for node in nodes)
    return Floor(weight_bytes(bundle, graph), batch * states, multiplications)


def weight_bytes(bundle: Bundle, graph: Graph) -> int:
    """Bytes of weights that a frame reads, as they lie in memory.

    16-bit weights that are only stored so are widened when a graph is opened. Of tables a few rows
    are read, which are not counted; weights that several codebooks share are read again for each.
    """
    return sum(size for _, size in _weights_read(bundle, graph))


def held_bytes(bundle: Bundle, graph: Graph) -> int:
    """Bytes of these weights that a process holds if no two of them are equal."""
    return sum(dict(_weights_read(bundle, graph)).values())


def _weights_read(bundle: Bundle, graph: Graph) -> Iterator[tuple[str, int]]:
    """Name and bytes of each weight that a node other than a lookup or a cast reads."""
    model = _model(bundle, graph)
    weights, widened = _weights(model)
    for node in model.graph.node:
        if node.op_type.startswith(("Gather", "Cast")):
            continue
        for name in node.input:
            source = widened.get(name, name)
            if (tensor := weights.get(source)) is not None:
                kind = TensorProto.FLOAT if name in widened else tensor.data_type
                width = helper.tensor_dtype_to_np_dtype(kind).itemsize
                yield source, math.prod(tensor.dims) * width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--codebooks", type=int)
    parser.add_argument("--top", type=int, default=12)
    arguments = parser.parse_args()
    machine = measure_machine(arguments.threads)
    print(
        f"reads {machine.read_bandwidth / 1e9:.1f} GB/s, multiplies "
        f"{machine.multiplications / 1e9:.0f} G/s in fp32 with {machine.threads} threads"
    )
    bundle = open_folder(arguments.bundle)

    def open_loop() -> FrameBenchmark:
        return FrameBenchmark(
            bundle,
            threads=arguments.threads,
            batch=arguments.batch,
            codebooks=arguments.codebooks,
            guided=arguments.guided,
        )

    loop = open_loop()
    times = loop.time(arguments.frames)
    for graph, nodes in profile(open_loop, arguments.frames):
        name, least = graph.name, floor(bundle, graph, nodes, arguments.batch)
        median, lowest = times.medians[name], least.seconds(machine)
        print(
            f"\n{name}: {1e3 * median:.2f} ms, floor {1e3 * lowest:.2f} "
            f"({median / lowest:.2f} x): weights {least.weight_bytes / 1e6:.0f} MB, states "
            f"{least.state_bytes / 1e6:.0f} MB, {least.multiplications / 1e6:.0f} M "
            "multiplications of many rows"
        )
        _report(nodes, arguments.top)


def _report(nodes: list[Node], top: int) -> None:
    by_operator: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        by_operator[node.operator].append(node)
    order = sorted(by_operator.items(), key=lambda item: -sum(n.seconds for n in item[1]))
    for operator, found in order[:top]:
        print(f"  {operator:28}{1e3 * sum(n.seconds for n in found):8.3f} ms in {len(found)}")


if __name__ == "__main__":
    main()
