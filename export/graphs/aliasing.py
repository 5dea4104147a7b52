"""Whether a graph may write its states into the buffers that it reads them from.

ONNX Runtime lets one buffer be bound as an input and an output and does not check what comes of it:
a node that reads the input after it was overwritten gives wrong numbers and no error.
"""

from collections.abc import Iterator

import onnx

from ...runtime.bundle.manifest import GraphSpec

WRITERS = {
    "TensorScatter": (0,),
    "ScatterND": (0,),
    "ScatterElements": (0,),
    "Where": (1, 2),
    "GroupQueryAttention": (3, 4),
}
"""Operators that may write over an input, and which: element by element, each read before."""


def unsafe_states(model: onnx.ModelProto, spec: GraphSpec) -> list[str]:
    """The states that are updated in place and that are not safe to be, each with why.

    A state is safe if the node that writes its output is the only one that reads its input.
    """
    graph = model.graph
    updated = [state for state in spec.states if state.carry in ("in_place", "append")]
    pairs = [(state.input, state.output) for state in updated if state.output is not None]
    problems = [(source, _problem(graph, source, target)) for source, target in pairs]
    return [f"{name}: {problem}" for name, problem in problems if problem]


def _problem(graph: onnx.GraphProto, source: str, target: str) -> str | None:
    writer = next((node for node in graph.node if target in node.output), None)
    if writer is None:
        return f"no node writes {target}"
    if writer.op_type not in WRITERS:
        return f"{target} is written by {writer.op_type}"
    places = [index for index, name in enumerate(writer.input) if name == source]
    if len(places) != 1 or places[0] not in WRITERS[writer.op_type]:
        return f"the {writer.op_type} that writes {target} does not update it"
    others = [node.op_type for node in _nodes(graph) if node is not writer and source in node.input]
    if others:
        return f"read by {', '.join(others)} besides the {writer.op_type} that updates it"
    return None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
