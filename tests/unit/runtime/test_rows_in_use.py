"""Streams of which the first rows alone are in use, and rows that are moved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy_codec import Array, Toy, expected

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.buffers import Buffer
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS

ROWS = 4
Make = Callable[[str], Graph]


class Watched:
    """A session that notes the shape that the ring has in each run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.rows: list[int] = []

    def io_binding(self) -> Any:
        binding = self._session.io_binding()
        bind = binding.bind_ortvalue_input

        def noted(name: str, value: Any) -> None:
            if name == "ring":
                binding.rows = value.shape()[0]
            bind(name, value)

        binding.bind_ortvalue_input = noted
        return binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.rows.append(binding.rows)
        self._session.run_with_iobinding(binding, options)


@pytest.fixture(params=["shared", "copied", "device", "fixed"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A toy by how its states are carried, in memory of each kind, or exported for four rows."""

    def made(carry: str) -> Graph:
        fixed = ROWS if request.param == "fixed" else None
        graph = Toy(carry=carry, most=1 if carry == "append" else 3, batch=fixed).graph(tmp_path)
        memory = "shared" if fixed else request.param
        graph.provider = replace(PROVIDERS["cpu"], memory=memory)
        graph.session = Watched(graph.session)
        return graph

    return made


@pytest.mark.parametrize("carry", ["replace", "in_place", "append"])
def test_rows_come_and_go_and_move(carry: str, make: Make) -> None:
    streams = BatchState(make(carry), ROWS)
    frames_in: list[list[Array]] = [[]]
    streams.use_rows(1)
    chance = np.random.default_rng(5)
    for turn in range(200):
        kind = chance.random()
        if kind < 0.15 and len(frames_in) < ROWS:
            frames_in.append([])
            streams.use_rows(len(frames_in))
        elif kind < 0.3 and len(frames_in) > 1:
            gone = int(chance.integers(len(frames_in)))
            last = len(frames_in) - 1
            if gone != last:
                streams.move(last, gone)
                frames_in[gone] = frames_in[last]
            frames_in.pop()
            streams.use_rows(len(frames_in))
        new = chance.integers(-9, 10, (len(frames_in), 1, 2)).astype(np.float32)
        active = chance.random(len(frames_in)) < 0.8
        codes = streams.step({"pcm": new}, active)["codes"]
        assert codes.shape == (len(frames_in), 2)
        for row in np.flatnonzero(active):
            frames_in[row].append(new[row, 0])
            assert codes[row].tolist() == expected(frames_in[row]).tolist(), (turn, row)


def test_a_graph_runs_over_the_rows_in_use_alone(make: Make) -> None:
    graph = make("in_place")
    streams = BatchState(graph, ROWS)
    for rows in (1, 3, 1, 4):
        streams.use_rows(rows)
        streams.step({"pcm": np.zeros((rows, 1, 2), np.float32)})
    narrow = graph.provider.memory != "device" and graph.fixed_batch is None
    assert graph.session.rows == ([1, 3, 1, 4] if narrow else [ROWS] * 4)


@pytest.mark.parametrize("carry", ["replace", "in_place", "append"])
def test_a_graph_runs_over_the_active_rows_alone(carry: str, make: Make) -> None:
    graph = make(carry)
    streams = BatchState(graph, ROWS)
    frames_in: list[list[Array]] = [[] for _ in range(ROWS)]
    new = np.random.default_rng(1).integers(-9, 10, (60, ROWS, 1, 2)).astype(np.float32)
    steps = [[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]]
    for turn in range(60):
        active = np.array(steps[turn % len(steps)], np.bool_)
        codes = streams.step({"pcm": new[turn]}, active)["codes"]
        for row in np.flatnonzero(active):
            frames_in[row].append(new[turn, row, 0])
            assert codes[row].tolist() == expected(frames_in[row]).tolist(), (turn, row)
    apart = graph.provider.memory != "device" and graph.fixed_batch is None and carry != "replace"
    assert graph.session.rows[:6] == ([2, 1, 1, 4, 4, 1] if apart else [ROWS] * 6)


def test_many_rows_are_stepped_in_few_parts(tmp_path: Path) -> None:
    streams = BatchState(Toy(carry="in_place").graph(tmp_path), 100)
    parts = {
        streams.active_range(np.isin(np.arange(100), (first, last)))
        for first in range(100)
        for last in range(first, 100)
    }
    assert len(parts) == 36
    assert max(stop for _, stop in parts) == 100
    assert streams.active_range(np.zeros(100, np.bool_)) == (0, 100)


def test_what_another_graph_made_may_have_more_rows(make: Make) -> None:
    streams = BatchState(make("in_place"), ROWS)
    given = Buffer((ROWS, 1, 2), "float32")
    given.write(np.arange(2 * ROWS, dtype=np.float32).reshape(ROWS, 1, 2))
    streams.use_rows(2)
    codes = streams.step({"pcm": given})["codes"]
    assert codes.tolist() == [expected([row[0]]).tolist() for row in given.read()[:2]]
    with pytest.raises(UsageError, match=r"shape \(4, 1, 2\), \(2, 1, 2\) expected"):
        streams.step({"pcm": given.read()})


@pytest.mark.parametrize("rows", [0, ROWS + 1, -1])
def test_rows_in_use_are_some_of_them(rows: int, make: Make) -> None:
    with pytest.raises(UsageError, match=f"{rows} rows of toy: choose 1 to 4"):
        BatchState(make("in_place"), ROWS).use_rows(rows)


def test_a_part_of_a_buffer_is_the_same_memory() -> None:
    whole = Buffer((3, 2), "int64", 7)
    part = whole.view(0, 2)
    part.write_rows([1], np.array([1, 2]))
    assert whole.read().tolist() == [[7, 7], [1, 2], [7, 7]]
    assert part.value.numpy().tolist() == [[7, 7], [1, 2]]
    assert part.value.data_ptr() == whole.value.data_ptr()
