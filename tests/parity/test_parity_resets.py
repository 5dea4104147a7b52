"""Of every flavour, a row that is reset depends on nothing that was in it, NaN included."""

from typing import Any

import numpy as np
import pytest
from support.parity.fixtures import Bundles

from kyutai_onnx.runtime.bundle.manifest import TensorSpec, axis_extent
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.graph import Graph, open_graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS

Array = np.ndarray[Any, Any]
TARGETS = ("cpu", "directml", "cuda", "webgpu", "coreml")
LATE = 5000


def inputs(graph: Graph, rows: int, seed: int) -> dict[str, Array]:
    """Noise, the same for a row however many there are."""
    return {
        port.name: np.stack(
            [noise(port, np.random.default_rng([seed, row])) for row in range(rows)]
        )
        for port in graph.spec.inputs
    }


def noise(port: TensorSpec, chance: np.random.Generator) -> Array:
    shape = [axis_extent(axis, 1, 1) for axis in port.shape[1:]]
    if port.dtype.startswith("float"):
        return chance.standard_normal(shape).astype(port.dtype) * np.asarray(0.1, port.dtype)
    return chance.integers(0, 5, shape).astype(port.dtype)


def poison(streams: BatchState, row: int) -> None:
    """Fills what a row remembers with NaN, rings long since full."""
    states = streams.save(row)
    for spec in streams.graph.spec.states:
        if not spec.dtype.startswith("float") or spec.carry == "constant":
            continue
        shape = list(states[spec.input].shape)
        if spec.ring is not None:
            shape[spec.ring.axis - 1] = spec.capacity
            states[spec.ring.position] = np.asarray(LATE, np.int64)
        states[spec.input] = np.full(shape, np.nan, spec.dtype)
    streams.load(row, states)


def step(streams: BatchState, seed: int, active: list[bool]) -> dict[str, Array]:
    made = streams.step(inputs(streams.graph, streams.batch, seed), active)
    return {name: np.array(value) for name, value in made.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_a_reset_row_equals_a_fresh_one(target: str, bundle: Bundles) -> None:
    made = bundle("mimi", "stt", target=target)
    checked = 0
    for name, spec in made.manifest.graphs.items():
        if not any(state.carry != "constant" for state in spec.states):
            continue
        graph = open_graph(made, name, PROVIDERS["cpu"], 1)
        rows = graph.fixed_batch or 3
        ours, theirs, bad = BatchState(graph, rows), BatchState(graph, rows), rows // 2
        everybody = [True] * rows
        for seed in range(5):
            step(ours, seed, everybody)
            others = [row != bad for row in range(rows)]
            step(theirs, seed, others)
        poison(ours, bad)
        for seed in range(5, 10):  # the poisoned row is stepped, and held
            step(ours, seed, everybody if seed % 2 else [row != bad for row in range(rows)])
            step(theirs, seed, [row != bad for row in range(rows)])
        ours.reset([bad])
        for seed in range(10, 40):
            found, expected = step(ours, seed, everybody), step(theirs, seed, everybody)
            for port in found:
                np.testing.assert_array_equal(found[port], expected[port], f"{name} {port} {seed}")
        checked += 1
    assert checked >= 3
