"""CUDA graphs, without a GPU: a stand-in replays what was bound as ONNX Runtime does."""

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy_codec import Array, Toy, expected
from test_providers import Opened, offer, opened

from kyutai_onnx.runtime.errors import ProviderError, UsageError
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.buffers import Buffer
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import (
    PROVIDERS,
    captures_graphs,
    capturing,
    choose,
    make_session,
    session_options,
)

REFUSED = RuntimeError("This session cannot use the graph capture feature as requested by the user")
CUDA = "CUDAExecutionProvider"


class Capturing:
    """A session that steps a new graph three times, and from then on what was bound then."""

    def __init__(self, session: Any) -> None:
        self._session, self.captured = session, {}  # type: ignore[var-annotated]
        self.numbers: list[int] = []
        self.released: list[int] = []

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        number = int(options.get_run_config_entry("gpu_graph_id"))
        self.numbers.append(number)
        bound = {**binding._bound_inputs, **binding._bound_outputs}
        if number == -1:
            self._session.run_with_iobinding(binding)
            return
        if number not in self.captured:
            self.captured[number] = bound
            for _ in range(2):
                self._session.run_with_iobinding(binding)
        assert bound == self.captured[number]
        self._session.run_with_iobinding(binding)

    def release_captured_graph(self, number: int) -> None:
        self.released.append(number)


@pytest.fixture(params=["in_place", "replace"])
def graph(tmp_path: Path, request: pytest.FixtureRequest) -> Graph:
    """A toy that captures its steps."""
    made = Toy(carry=request.param).graph(tmp_path)
    made.session, made.captures = Capturing(made.session), True
    return made


def frames(count: int) -> Array:
    return np.random.default_rng(0).integers(-9, 10, (count, 2)).astype(np.float32)


def test_each_turn_of_each_stream_is_captured_once(graph: Graph) -> None:
    recognized, streams = frames(25), [BatchState(graph), BatchState(graph)]
    for step, frame in enumerate(recognized):
        for each in streams:
            codes = each.step({"pcm": frame[None, None]})["codes"][0]
            assert codes.tolist() == expected(list(recognized[: step + 1])).tolist()
        if step == 11:
            saved = streams[0].save(0)
            streams[0].step({"pcm": frame[None, None]})
            streams[0].load(0, saved)
    assert len(graph.session.captured) == 4
    assert len(graph.session.numbers) == 51


def test_several_frames_at_once_are_not_captured(graph: Graph) -> None:
    streams, recognized = BatchState(graph), frames(9)
    for start, count in ((0, 1), (1, 3), (4, 3), (7, 1), (8, 1)):
        pcm = recognized[start : start + count].reshape(1, 1, -1)
        codes = streams.step({"pcm": pcm})["codes"][0]
        assert codes.tolist() == expected(list(recognized[: start + count])).tolist()
    assert [number == -1 for number in graph.session.numbers] == [False, True, True, False, False]


def test_an_input_that_lies_elsewhere_is_captured_again(graph: Graph) -> None:
    streams, recognized, given = BatchState(graph), frames(12), Buffer((1, 1, 2), "float32")
    for step, frame in enumerate(recognized):
        given.write(frame)
        pcm = given if step % 6 > 2 else frame[None, None]
        codes = streams.step({"pcm": pcm})["codes"][0]
        assert codes.tolist() == expected(list(recognized[: step + 1])).tolist()
    assert len(graph.session.captured) == 8


def test_captured_graphs_are_given_back(graph: Graph) -> None:
    streams = BatchState(graph)
    for frame in frames(3):
        streams.step({"pcm": frame[None, None]})
    captured = sorted(graph.session.captured)
    del streams
    gc.collect()
    assert sorted(graph.session.released) == captured


def test_one_thread_alone_steps_what_is_captured(graph: Graph) -> None:
    streams, refused = BatchState(graph), []
    pcm = np.zeros((1, 1, 2), np.float32)
    streams.step({"pcm": pcm})

    def step() -> None:
        with pytest.raises(UsageError, match="one thread") as error:
            streams.step({"pcm": pcm})
        refused.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert len(refused) == 1


def test_capturing_is_cuda_with_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CUDA)
    provider = choose("cuda-graphs", "cuda")
    assert (provider.name, provider.captures) == ("cuda", True)
    assert provider.options == PROVIDERS["cuda"].options | {"enable_cuda_graph": "1"}
    assert not session_options(provider, 1).enable_mem_pattern
    with pytest.raises(ProviderError, match="for cpu, not cuda"):
        choose("cuda-graphs", "cpu")
    offer(monkeypatch)
    with pytest.raises(ProviderError, match="CUDAExecutionProvider is not in "):
        choose("cuda-graphs", "cuda")


class Refusing(Opened):
    """Opens no session that captures."""

    def __call__(self, path: str, options: Any, **arguments: Any) -> Opened:
        super().__call__(path, options, **arguments)
        if self.captures:
            raise REFUSED
        return self

    @property
    def captures(self) -> bool:
        return "enable_cuda_graph" in self.arguments["providers"][0][1]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return dict(self.arguments["providers"])


def test_a_graph_that_cannot_be_captured_opens_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = capturing(PROVIDERS["cuda"])
    session = opened(monkeypatch, Refusing(CUDA))
    assert not captures_graphs(make_session(tmp_path / "toy.onnx", provider), provider)
    monkeypatch.setattr(Refusing, "captures", False)
    monkeypatch.setattr(session, "arguments", {})
    assert captures_graphs(make_session(tmp_path / "toy.onnx", provider), provider)
    opened(monkeypatch, Opened(error=REFUSED))
    with pytest.raises(ProviderError, match="cuda could not open"):
        make_session(tmp_path / "toy.onnx", PROVIDERS["cuda"])
