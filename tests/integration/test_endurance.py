"""What runs for long: memory stays as it is, and a stream that is loaded again and again makes the
same (the endurance benchmark's short form)."""

import gc
import json
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.counting_model import Client, Counting, frames
from support.paths import ROOT
from support.soundcards import Room
from support.speech import RATE
from support.waiting import until

from kyutai_onnx.runtime.audio.live.live_sound import LiveSound
from kyutai_onnx.server.engine import Engine, Statistics
from kyutai_onnx.server.limits import Limits


def test_a_stream_that_is_saved_and_loaded_makes_the_same_tokens(tmp_path: Path) -> None:
    given = ["--folder", str(tmp_path), "--frames", "400", "--every", "200"]
    for _ in range(2):  # the second time there is nothing left to do
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.endurance", *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        result = json.loads(ended.stdout.splitlines()[-1])
        assert result["equal"]
        assert (result["frames"], result["loads"]) == (400, 1)
        assert result["loads_of_the_whole"] == result["words_out_of_time"] == 0
        assert result["words"] > 20


@pytest.fixture
def engine() -> Iterator[Engine]:
    model = Counting(step_seconds=0.0)
    model.log = deque(maxlen=10)
    running = Engine("counting", model, 4, Limits(), Statistics())  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop(0.0)


def test_memory_stays_as_it_is_over_ten_thousand_sessions(engine: Engine) -> None:
    def one_session(number: int) -> None:
        client = Client(engine)
        client.session.feed(frames(0.1, 0.2))
        client.session.mark(number)
        if number % 3 == 0:
            client.session.end()
            until(lambda: client.session.over)
        else:
            client.session.close()

    for number in range(500):
        one_session(number)
    tracemalloc.start()
    try:
        for number in range(300):
            one_session(number)
        gc.collect()
        first, _ = tracemalloc.get_traced_memory()
        for number in range(10_000):
            one_session(number)
        until(lambda: engine.used == 0)
        gc.collect()
        last, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last - first < 100_000


def test_twenty_minutes_take_no_more_memory_than_a_minute() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    sizes: list[int] = []
    room.clock.every(60.0, lambda: sizes.append(held(room.sound)), start=60.0)
    captured = room.listen_for(1200.0, lambda _: 0.05, echo=True)
    assert len(captured) / RATE > 1199
    assert len(sizes) > 15
    assert max(sizes) <= 1.05 * sizes[1]


def held(sound: LiveSound) -> int:
    """Entries in everything that grows."""
    meter = sound.meter
    spreads = (meter.lag, meter.to_sound, meter.to_word)
    return (
        len(sound.capture_buffer._blocks)
        + len(sound.playback_buffer._pieces)
        + len(meter._arrivals)
        + sum(len(spread._newest) for spread in spreads)
    )
