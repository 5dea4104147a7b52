"""A frame costs after twenty thousand what it cost after one thousand: the same runs of the same
graphs, the same calls and as much memory. Nothing is timed."""

import gc
import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from voices import voices

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.speech_to_text_stream import SpeechToTextStream
from kyutai_onnx.runtime.graph import Graph

YOUNG, OLD, TRACED, COUNTED = 1000, 20_000, 4000, 250
KEPT_BYTES = 50_000
"""Of noise, in what thousands of frames leave behind: a number for each would be more."""


@dataclass(frozen=True)
class Cost:
    """Of `COUNTED` frames: the runs of each graph, the medians of a frame's calls and of the bytes
    that it allocates, and the bytes of the saved stream."""

    runs: dict[str, int]
    calls: float
    peak: float
    saved: int


@pytest.mark.slow
def test_work_and_memory_stay_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpeechToText.load(threads=1)
    frames = voices(1, 250 * model.frame_size, model.sample_rate)[0].reshape(250, -1)
    runs = counted_runs(monkeypatch)
    young, old = model.stream(), model.stream()
    advance(young, frames, YOUNG)
    advance(old, frames, OLD - TRACED)
    assert kept_bytes(old, frames) < KEPT_BYTES
    early, late = (cost(stream, frames, runs) for stream in (young, old))
    assert late.runs == early.runs
    assert late.saved == early.saved
    assert late.calls == early.calls
    assert late.peak == pytest.approx(early.peak, abs=100)


def advance(stream: SpeechToTextStream, frames: np.ndarray, count: int) -> None:
    for index in range(0, count, 25):
        stream.feed(frames.reshape(-1, 25, frames.shape[1])[index // 25 % 10].reshape(-1))


def kept_bytes(stream: SpeechToTextStream, frames: np.ndarray) -> int:
    """What Python and numpy allocate in `TRACED` frames and do not give back."""
    tracemalloc.start()
    try:
        advance(stream, frames, 25)  # whose buffers stay
        before, _ = tracemalloc.get_traced_memory()
        advance(stream, frames, TRACED - 25)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def counted_runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each graph is run from now on, by its name and the shapes of its outputs."""
    runs, run = dict[str, int](), Graph.run

    def counting(graph: Graph, binding: Any, options: Any) -> None:
        run(graph, binding, options)
        key = f"{graph.name} {[one.shape() for one in binding.get_outputs()]}"
        runs[key] = runs.get(key, 0) + 1

    monkeypatch.setattr(Graph, "run", counting)
    return runs


def cost(stream: SpeechToTextStream, frames: np.ndarray, runs: dict[str, int]) -> Cost:
    runs.clear()
    calls, peaks = [], []
    tracemalloc.start()
    try:
        for frame in frames[:COUNTED]:
            tracemalloc.reset_peak()
            here, _ = tracemalloc.get_traced_memory()
            calls.append(count_calls(stream, frame))
            peaks.append(tracemalloc.get_traced_memory()[1] - here)
    finally:
        tracemalloc.stop()
    saved = sum(np.asarray(value).nbytes for value in leaves(stream.save()))
    return Cost(dict(runs), float(np.median(calls)), float(np.median(peaks)), saved)


def count_calls(stream: SpeechToTextStream, frame: np.ndarray) -> int:
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        stream.feed(frame)
    finally:
        sys.setprofile(None)
    return calls


def leaves(saved: Any) -> list[Any]:
    """What a saved stream holds that is no mapping or sequence."""
    if isinstance(saved, dict):
        return [leaf for value in saved.values() for leaf in leaves(value)]
    if isinstance(saved, list | tuple):
        return [leaf for value in saved for leaf in leaves(value)]
    return [saved]
