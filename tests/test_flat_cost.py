"""A frame costs after twenty thousand what it cost after one thousand.

The two are timed in turn, frame by frame, in two streams of one model: what else the machine does
meets both alike.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from voices import voices

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.speech_to_text_stream import SpeechToTextStream

YOUNG, OLD, TIMED = 1000, 19_000, 1000
TRIES = 3


@pytest.fixture(scope="module")
def model() -> SpeechToText:
    return SpeechToText.load(threads=1)


@pytest.mark.slow
def test_time_and_memory_stay_flat(model: SpeechToText) -> None:
    frames = voices(1, 250 * model.frame_size, model.sample_rate)[0].reshape(250, -1)
    young, old = model.stream(), model.stream()
    advance(young, frames, YOUNG)
    advance(old, frames, 2000)
    before = resident_mb()
    advance(old, frames, OLD - 2000)
    assert resident_mb() - before < 5
    ratios = []
    for _ in range(TRIES):
        ratios.append(ratio(young, old, frames))
        if abs(ratios[-1] - 1) < 0.05:
            return
    pytest.fail(f"an old stream takes {ratios} times as long as a young one")


def advance(stream: SpeechToTextStream, frames: np.ndarray, count: int) -> None:
    for index in range(0, count, 25):
        stream.feed(frames.reshape(-1, 25, frames.shape[1])[index // 25 % 10].reshape(-1))


def ratio(young: SpeechToTextStream, old: SpeechToTextStream, frames: np.ndarray) -> float:
    """The median time of the old stream's frames, as a part of the young one's."""
    times: dict[SpeechToTextStream, list[float]] = {young: [], old: []}
    for index in range(TIMED):
        for stream in (young, old) if index % 2 else (old, young):
            started = time.perf_counter()
            stream.feed(frames[index % len(frames)])
            times[stream].append(time.perf_counter() - started)
    return float(np.median(times[old]) / np.median(times[young]))


def resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc to read the process's memory from")
    line = next(row for row in status.read_text().splitlines() if row.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3
