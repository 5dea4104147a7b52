"""Streams whose rings are full: what a step costs after hours, without waiting for hours."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..runtime.graph.graph import Graph
from ..runtime.graph.pipeline import PipelineState
from .lm.generation import Generator

LATE = 100_000
"""Steps that the stream counts as behind it."""


def fill_chain(rows: PipelineState, graphs: Iterable[Graph]) -> None:
    """The first row of a direction of the codec, after hours."""
    saved = rows.save(0)
    fill_rings(saved, graphs, np.random.default_rng(0))
    rows.load(0, saved)


def fill_generator(generator: Generator) -> None:
    """The first row of a generator, and its null row, after hours."""
    saved = generator.save(0)
    noise = np.random.default_rng(0)
    for part in (saved, saved["guidance"]):
        if part is not None:
            fill_rings(part["transformer"], [generator.model.temporal], noise)
    saved["delays"]["step"] = LATE
    saved["delays"]["tokens"][:] = 0
    generator.load(0, saved)


def fill_rings(states: dict[str, Any], graphs: Iterable[Graph], noise: np.random.Generator) -> None:
    """Replaces the saved rings of one row by full ones and moves their positions on."""
    for spec in (spec for graph in graphs for spec in graph.spec.states):
        if spec.ring is not None:
            shape = [int(axis) for axis in spec.shape[1:]]
            shape[spec.ring.axis - 1] = spec.capacity
            entries = noise.standard_normal(shape) * (30 if spec.dtype == "int8" else 0.1)
            states[spec.input] = entries.astype(spec.dtype)
            states[spec.ring.position] = np.asarray(LATE, np.int64)
