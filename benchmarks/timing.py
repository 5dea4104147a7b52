"""Engines in turns on the same frames, and the table of what they took."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from kyutai_onnx.export.verify import made_up_voice
from kyutai_onnx.models.frame_time import FrameLoop
from kyutai_onnx.models.rings import LATE
from kyutai_onnx.runtime.bundle import Bundle

FRAME_MS = 80.0
SAMPLE_RATE, FRAME_SIZE = 24000, 1920
Engine = Callable[[np.ndarray], None]
Times = Mapping[str, list[float]]


def ours(path: Path, threads: int) -> Engine:
    """A bundle, every stage that its family has."""
    loop = FrameLoop(Bundle.open(path), threads=threads)
    return lambda _: loop.step()


def fill(model: torch.nn.Module) -> None:
    """Fills every ring of Kyutai's package with noise and moves its position on; those that live
    within a frame are made anew anyway."""
    for module in model.modules():
        state = getattr(module, "_streaming_state", None)
        if getattr(state, "kv_cache", None) is not None:
            state.kv_cache.cache.normal_(0, 0.1)
            state.kv_cache.end_offset.fill_(LATE)
            state.offset.fill_(LATE)


def measure(engines: Mapping[str, Engine], rounds: int, frames: int) -> dict[str, list[float]]:
    """Milliseconds of each frame, by engine."""
    voice = made_up_voice(SAMPLE_RATE, FRAME_SIZE * frames).reshape(frames, FRAME_SIZE)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            engine(voice[0])
            for frame in voice:
                started = time.perf_counter()
                engine(frame)
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def report(times: Times, base: str = "moshi bf16") -> None:
    """Medians as a table; ratios to `base` where it ran."""
    print("| engine | ms a frame (median) | p90 | of real time | against moshi bf16 |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        median, p90 = np.median(values), np.percentile(values, 90)
        ratio = f"{np.median(times[base]) / median:.2f} x" if base in times else ""
        print(f"| {name} | {median:.1f} | {p90:.1f} | {FRAME_MS / median:.2f} x | {ratio} |")
