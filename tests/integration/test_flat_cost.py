"""A frame costs after twenty thousand what it cost after one thousand: the same runs of the same
graphs, the same calls and as much memory. Nothing is timed."""

import gc
import multiprocessing
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.voices import voices

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.batch import Stream
from kyutai_onnx.runtime.graph.graph import Graph

YOUNG, OLD, TRACED, COUNTED = 1000, 20_000, 4000, 250
KEPT_BYTES = 10_000
"""In 4000 frames; even an integer of 32 bits for each would be more."""

PEAK_BYTES = 1000
"""By how much frames of other words may differ; a byte for each frame before would be 19 times
that."""


@dataclass(frozen=True)
class Cost:
    """Of `COUNTED` frames: the runs of each graph, the medians of a frame's calls and of the bytes
    that it allocates, and the bytes of the saved stream."""

    runs: dict[str, int]
    calls: float
    peak: float
    saved: int


@dataclass(frozen=True)
class Measured:
    kept: int
    early: Cost
    late: Cost


def test_work_and_memory_stay_flat() -> None:
    """In a process of its own: the allocations of every thread are counted, and other tests leave
    threads and full caches behind."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as processes:
        found = processes.submit(measure).result()
    assert found.kept < KEPT_BYTES
    assert found.late.runs == found.early.runs
    assert found.late.saved == found.early.saved
    assert found.late.calls == found.early.calls
    assert found.late.peak == pytest.approx(found.early.peak, abs=PEAK_BYTES)


def measure() -> Measured:
    model = SpeechToText.load(threads=1)
    frames = voices(1, 250 * model.frame_size, model.sample_rate)[0].reshape(250, -1)
    runs = counted_runs()
    young, old = model.stream(), model.stream()
    advance(young, frames, YOUNG)
    advance(old, frames, OLD - TRACED)
    kept = kept_bytes(old, frames)
    return Measured(kept, cost(young, frames, runs), cost(old, frames, runs))


def advance(stream: Stream[Any], frames: np.ndarray, count: int) -> None:
    for index in range(0, count, 25):
        stream.feed(frames.reshape(-1, 25, frames.shape[1])[index // 25 % 10].reshape(-1))


def kept_bytes(stream: Stream[Any], frames: np.ndarray) -> int:
    """What Python and numpy allocate in `TRACED` frames and do not give back."""
    tracemalloc.start()
    try:
        advance(stream, frames, 25)  # whose buffers stay
        before = traced_bytes()
        advance(stream, frames, TRACED - 25)
        return traced_bytes() - before
    finally:
        tracemalloc.stop()


def traced_bytes() -> int:
    """Without the binding of ONNX Runtime: tracemalloc does not see all that it gives back."""
    gc.collect()
    traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*onnxruntime*")])
    return sum(trace.size for trace in traces.traces)


def counted_runs() -> dict[str, int]:
    """How often this process runs each graph, by its name and the shapes of its outputs."""
    runs, run = dict[str, int](), Graph.run

    def counting(graph: Graph, binding: Any, options: Any) -> None:
        run(graph, binding, options)
        key = f"{graph.name} {[one.shape() for one in binding.get_outputs()]}"
        runs[key] = runs.get(key, 0) + 1

    Graph.run = counting  # type: ignore[method-assign]
    return runs


def cost(stream: Stream[Any], frames: np.ndarray, runs: dict[str, int]) -> Cost:
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


def count_calls(stream: Stream[Any], frame: np.ndarray) -> int:
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
