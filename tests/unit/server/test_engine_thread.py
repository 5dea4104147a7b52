"""The engine's own thread: it sleeps while there is nothing to do, and no other thread harms it."""

import gc
import random
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from support.counting_model import Client, Counting, frames
from support.waiting import until

from kyutai_onnx.models.events import Word
from kyutai_onnx.server.engine import Busy, Ended, Engine, Session, SessionEvent, Statistics
from kyutai_onnx.server.limits import Limits

PATIENCE = 30.0


def begin(slots: int, **limits: float) -> Engine:
    model = Counting(step_seconds=0.0)
    model.log = deque(maxlen=10)
    engine = Engine("counting", model, slots, Limits(**limits), Statistics())  # type: ignore[arg-type]
    engine.start()
    return engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = begin(4)
    yield running
    running.stop(0.0)
    assert not running.alive


def test_it_transcribes_and_reports_in_a_thread_of_its_own(engine: Engine) -> None:
    recognized = threading.Event()
    threads = set[int]()

    def deliver(reported: object) -> None:
        threads.add(threading.get_ident())
        if Ended("done") in reported:  # type: ignore[operator]
            recognized.set()

    session = Session(engine, lambda batch: batch.join(), deliver)
    session.feed(frames(0.1, 0.2))
    session.end()
    assert recognized.wait(PATIENCE)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_it_sleeps_while_there_is_nothing_to_do(engine: Engine) -> None:
    idle, turn = list[float | None]([0.0]), engine.loop.turn

    def counted() -> float | None:
        idle.append(turn())
        return idle[-1]

    engine.loop.turn = counted  # type: ignore[method-assign]
    client, held = Client(engine), Client(engine)
    held.session.feed(frames(0.1, 0.2))
    held.session.hold(True)
    client.session.feed(frames(0.1, 0.2, 0.3))
    until(lambda: "0.1" in client.brief and idle[-1] != 0)
    turns = len(idle)
    assert idle[-1] is None or idle[-1] > 1
    client.session.feed(frames(0.4))
    until(lambda: "0.2" in client.brief)
    assert 1 <= len(idle) - turns <= 4


def test_a_limit_wakes_it() -> None:
    engine = begin(1, idle=0.05, wait=0.1)
    client = Client(engine)
    until(lambda: client.brief == ["ready", "idle"])
    engine.stop(0.0)


def test_what_goes_wrong_in_a_turn_does_not_end_the_thread(engine: Engine) -> None:
    client = Client(engine)
    until(lambda: client.brief == ["ready"])
    turn = engine.loop.turn

    def fail() -> float:
        engine.loop.turn = turn  # type: ignore[method-assign]
        raise ZeroDivisionError("a fault of the engine's own")

    engine.loop.turn = fail  # type: ignore[method-assign]
    client.session.feed(frames(0.1))
    client.session.feed(frames(0.1))
    until(lambda: "failed" in client.brief)
    other = Client(engine)
    until(lambda: other.brief == ["ready"])


def test_threads_that_come_and_go_all_at_once() -> None:
    engine = begin(4, queue=4, wait=PATIENCE)
    right: list[bool] = []
    threads = [
        threading.Thread(target=come_and_go, args=(engine, seed, right)) for seed in range(8)
    ]
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    until(lambda: (engine.used, engine.queued) == (0, 0))
    engine.stop(0.0)
    counted = engine.statistics
    assert len(right) > 50
    assert all(right)
    assert counted.ended["abandoned"] > 50
    assert (counted.faults, sum(counted.ended.values())) == (0, counted.opened)


def come_and_go(engine: Engine, seed: int, right: list[bool]) -> None:
    """Opens sessions that are closed, lost as garbage, or read to their end."""
    chance = random.Random(seed)
    for _ in range(60):
        reported: list[SessionEvent] = []
        try:
            wait = chance.choice([0.0, PATIENCE])
            session = Session(engine, lambda batch: batch.join(), reported.extend, wait=wait)
        except Busy:
            until(lambda: engine.used < engine.slots)
            continue
        values = [chance.randrange(1, 100) / 100 for _ in range(chance.randrange(12))]
        for piece in np.array_split(frames(*values), 5):
            session.feed(piece)
        match chance.randrange(4):
            case 0:
                session.close()
            case 1:
                cycle: list[object] = [session]
                cycle.append(cycle)
                del cycle, session
                gc.collect()
            case _:
                session.end()
                until(lambda reported=reported: Ended("done") in reported)  # type: ignore[misc]
                words = [event.text for event in reported if isinstance(event, Word)]
                right.append(words == [f"{np.float32(value):g}" for value in values])
