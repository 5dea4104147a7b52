"""Rows of state stepped through a graph: each is a stream of its own, whatever the others do."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy_codec import Array, Toy, expected, remembered

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS, load_onnxruntime

FLAVOURS = pytest.mark.parametrize("native", [True, False], ids=["native", "portable"])


def frames(count: int, rows: int = 1, seed: int = 0) -> Array:
    """Whole numbers `[rows, count, 2]`, so that every sum is exact."""
    return np.random.default_rng(seed).integers(-9, 10, (rows, count, 2)).astype(np.float32)


def say(
    streams: BatchState, frames_in: Array, active: Array | Sequence[bool] | None = None
) -> Array:
    """Steps through `frames_in [rows, frames, 2]`; returns a copy of the codes `[rows, 2]`."""
    pcm = frames_in.reshape(len(frames_in), 1, -1)
    codes: Array = streams.step({"pcm": pcm}, active)["codes"].copy()
    return codes


def follow(streams: BatchState, row: int, frames_in: Array) -> Array:
    """The codes of one row `[frames, 2]`, stepped frame by frame while the others are held."""
    active = [index == row for index in range(streams.batch)]
    steps = [np.repeat(frame[None, None], streams.batch, axis=0) for frame in frames_in]
    return np.stack([say(streams, step, active)[row] for step in steps])


def codes_of(frames_in: Array) -> Array:
    """What a stream `[frames, 2]` says after each frame."""
    return np.stack([expected(list(frames_in[: end + 1])) for end in range(len(frames_in))])


@FLAVOURS
def test_rows_step_hold_and_reset_without_touching_one_another(
    native: bool, tmp_path: Path
) -> None:
    streams = BatchState(Toy(native).graph(tmp_path), 3)
    frames_in: list[list[Array]] = [[], [], []]
    chance = np.random.default_rng(1)
    for turn in range(80):
        count = int(chance.integers(1, 4))
        active = chance.random(3) < 0.6
        new = frames(count, rows=3, seed=turn)
        for row in np.flatnonzero(chance.random(3) < 0.05):
            streams.reset([int(row)])
            frames_in[row] = []
        codes = say(streams, new, active)
        for row in np.flatnonzero(active):
            frames_in[row] += list(new[row])
            assert codes[row].tolist() == expected(frames_in[row]).tolist(), (turn, row)


@FLAVOURS
def test_a_held_row_keeps_its_states(native: bool, tmp_path: Path) -> None:
    streams = BatchState(Toy(native).graph(tmp_path), 3)
    say(streams, frames(3, rows=3))
    before = streams.save(1)
    for seed in range(4):
        say(streams, frames(1, rows=3, seed=seed), [True, False, True])
    after = streams.save(1)
    assert after["offset"] == before["offset"] == 3
    assert after["total"].tolist() == before["total"].tolist()
    assert after["ring"].tolist() == before["ring"].tolist()


@FLAVOURS
def test_what_a_reset_leaves_in_a_ring_is_never_read(native: bool, tmp_path: Path) -> None:
    streams = BatchState(Toy(native).graph(tmp_path), 2)
    for _ in range(4):
        say(streams, np.full((2, 3, 2), 1e6, np.float32))
    streams.reset([1])
    frames_in = frames(12)[0]
    assert follow(streams, 1, frames_in).tolist() == codes_of(frames_in).tolist()


def test_a_saved_row_goes_on_in_another_row_and_in_another_batch(tmp_path: Path) -> None:
    graph, frames_in = Toy().graph(tmp_path), frames(30)[0]
    first, second = BatchState(graph, 3), BatchState(graph, 1)
    follow(first, 2, frames_in[:11])
    saved = first.save(2)
    follow(first, 0, frames(4, seed=5)[0])
    first.load(0, saved)
    second.load(0, saved)
    wanted = codes_of(frames_in)[11:].tolist()
    assert follow(first, 0, frames_in[11:]).tolist() == wanted
    assert follow(second, 0, frames_in[11:]).tolist() == wanted
    assert follow(first, 2, frames_in[11:]).tolist() == wanted


@pytest.mark.parametrize("kept_before", [0, 1, 4, 5, 7, 8, 23])
@pytest.mark.parametrize("most", [1, 3, 9], ids=["smaller", "same", "larger"])
def test_a_saved_ring_goes_on_in_a_ring_of_another_capacity(
    most: int, kept_before: int, tmp_path: Path
) -> None:
    frames_in = frames(kept_before + 20)[0]
    source = BatchState(Toy(most=3).graph(tmp_path / "source"), 1)
    target = BatchState(Toy(native=False, most=most).graph(tmp_path / "target"), 2)
    for frame in frames_in[:kept_before]:
        say(source, frame[None, None])
    follow(target, 1, frames(13, seed=7)[0])
    saved = source.save(0)
    assert saved["ring"].shape == (1, min(kept_before, 7), 2)
    target.load(1, saved)
    wanted = codes_of(frames_in)[kept_before:].tolist()
    assert follow(target, 1, frames_in[kept_before:]).tolist() == wanted


@FLAVOURS
def test_one_buffer_gives_the_same_bits_as_two(native: bool, tmp_path: Path) -> None:
    one, two = (
        BatchState(Toy(native, carry=carry).graph(tmp_path / carry), 3)
        for carry in ("in_place", "replace")
    )
    chance = np.random.default_rng(2)
    for _ in range(40):
        new = chance.normal(size=(3, int(chance.integers(1, 4)), 2)).astype(np.float32)
        active = chance.random(3) < 0.7
        assert say(one, new, active)[active].tolist() == say(two, new, active)[active].tolist()
        for row in range(3):
            ours, theirs = remembered(one.save(row)), remembered(two.save(row))
            assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@pytest.mark.parametrize("device", ["shared", "device"])
def test_a_ring_is_appended_to_in_rows_that_step_alone(device: str, tmp_path: Path) -> None:
    graph = Toy(carry="append", most=1).graph(tmp_path)
    graph.provider = replace(PROVIDERS["cpu"], memory=device)
    streams = BatchState(graph, 3)
    frames_in: list[list[Array]] = [[], [], []]
    chance = np.random.default_rng(4)
    for turn in range(120):
        active = chance.random(3) < 0.6
        new = frames(1, rows=3, seed=turn)
        for row in np.flatnonzero(chance.random(3) < 0.05):
            streams.reset([int(row)])
            frames_in[row] = []
        codes = say(streams, new, active)
        for row in np.flatnonzero(active):
            frames_in[row] += list(new[row])
            assert codes[row].tolist() == expected(frames_in[row]).tolist()


@pytest.mark.parametrize("kept_before", [0, 1, 4, 5, 23])
def test_a_ring_that_is_appended_to_goes_on_where_another_was(
    kept_before: int, tmp_path: Path
) -> None:
    frames_in = frames(kept_before + 12)[0]
    toys = [Toy(most=3), Toy(carry="append", most=1)]
    graphs = [toy.graph(tmp_path / toy.carry) for toy in toys]
    for source, target in (graphs, graphs[::-1]):
        first, second = BatchState(source), BatchState(target, 2)
        for frame in frames_in[:kept_before]:
            say(first, frame[None, None])
        second.load(1, first.save(0))
        wanted = codes_of(frames_in)[kept_before:].tolist()
        assert follow(second, 1, frames_in[kept_before:]).tolist() == wanted


def test_streams_of_one_graph_may_be_stepped_by_threads_of_their_own(tmp_path: Path) -> None:
    graph = Toy().graph(tmp_path)
    frames_in = [frames(200, seed=seed)[0] for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda one: follow(BatchState(graph), 0, one), frames_in))
    for index in range(2):
        assert codes[index].tolist() == codes_of(frames_in[index]).tolist()


class Copying:
    """A session whose bindings copy inputs when they are bound, as those of a GPU do."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._kept: list[np.ndarray[Any, Any]] = []  # an OrtValue of some versions does not

    def io_binding(self) -> Any:
        binding = self._session.io_binding()
        bind = binding.bind_ortvalue_input

        def bind_copy(name: str, value: Any) -> None:
            self._kept.append(value.numpy().copy())
            bind(name, load_onnxruntime().OrtValue.ortvalue_from_numpy(self._kept[-1]))

        binding.bind_ortvalue_input = bind_copy
        return binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding, options)


@pytest.mark.parametrize("carry", ["in_place", "replace"])
def test_a_provider_with_a_memory_of_its_own_sees_every_input(carry: str, tmp_path: Path) -> None:
    graph = Toy(carry=carry).graph(tmp_path)
    graph.provider = replace(PROVIDERS["cpu"], memory="copied")
    graph.session = Copying(graph.session)
    frames_in = frames(12)[0]
    assert follow(BatchState(graph, 2), 1, frames_in).tolist() == codes_of(frames_in).tolist()


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Toy().graph(tmp_path)


@pytest.mark.parametrize(
    ("shape", "reported"),
    [
        ((1, 1, 8), "by 4 frames in one call"),
        ((1, 1, 0), "by 0 frames in one call"),
        ((1, 1, 3), r"pcm has shape \(1, 1, 3\), \(1, 1, 2\) expected"),
        ((2, 1, 2), r"pcm has shape \(2, 1, 2\), \(1, 1, 2\) expected"),
        ((1, 2), r"pcm has shape \(1, 2\), \(1, 1, 2\) expected"),
    ],
)
def test_an_input_of_a_wrong_shape_is_refused(
    shape: tuple[int, ...], reported: str, graph: Graph
) -> None:
    with pytest.raises(UsageError, match=reported):
        BatchState(graph).step({"pcm": np.zeros(shape, np.float32)})


def test_a_missing_input_is_refused(graph: Graph) -> None:
    with pytest.raises(UsageError, match=r"toy .* pcm"):
        BatchState(graph).step({})


@pytest.mark.parametrize("active", [[True], [True, True], [[True] * 3]])
def test_active_names_every_row(active: Sequence[bool], graph: Graph) -> None:
    with pytest.raises(UsageError, match=r"active has shape .*, \(3,\) expected"):
        say(BatchState(graph, 3), frames(1, rows=3), active)


def test_a_fixed_batch_takes_no_other(tmp_path: Path) -> None:
    graph = Toy(batch=2).graph(tmp_path)
    frames_in = frames(2, rows=2)
    codes = say(BatchState(graph, 2), frames_in)
    assert codes.tolist() == [expected(list(row)).tolist() for row in frames_in]
    with pytest.raises(UsageError, match=r"batch of 2, not 3; .* '--batch 3'"):
        BatchState(graph, 3)


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"total": None}, r"saved state .* total"),
        ({"offset": None}, r"saved state .* offset"),
        ({"total": np.zeros(3, np.float32)}, r"total has shape \[3\], this model's is \[2\]"),
        ({"ring": np.zeros((1, 4), np.float32)}, r"saved ring .* shape"),
        ({"ring": np.zeros((2, 4, 2), np.float32)}, r"saved ring .* shape"),
        ({"ring": np.zeros((1, 6, 2), np.float32)}, r"ring holds 6 entries .* 4"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    changed: dict[str, Array | None], reported: str, graph: Graph
) -> None:
    source, target = BatchState(graph), BatchState(graph)
    frames_in = frames(10)[0]
    follow(source, 0, frames(4, seed=3)[0])
    follow(target, 0, frames_in[:6])
    saved = {**source.save(0), **changed}
    with pytest.raises(UsageError, match=reported):
        target.load(0, {name: value for name, value in saved.items() if value is not None})
    assert follow(target, 0, frames_in[6:]).tolist() == codes_of(frames_in)[6:].tolist()
