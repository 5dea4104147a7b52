"""What a session may take of the engine: time, backlog, and what counts as input at all."""

import math
from typing import Any

import numpy as np
import pytest
from support.counting_model import FRAME_SECONDS, RATE, Desk, frames

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.limits import Limits


@pytest.mark.parametrize(
    ("name", "value"),
    [("idle", 0), ("session", -1.0), ("backlog", math.nan), ("queue", -1), ("message_words", 0)],
)
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"the limit {name} is {value}: give"):
        Limits(**limits).check()


def test_who_brings_nothing_is_idle() -> None:
    desk = Desk(idle=10)
    client, talker = desk.open(), desk.open()
    for _ in range(5):
        assert desk.work() is not None
        desk.wait(4)
        talker.session.feed(frames(0.1))
        assert talker.brief.count("idle") == 0
    assert client.brief == ["ready", "idle"]
    desk.wait(9)
    assert "idle" not in talker.brief
    desk.wait(2)
    assert talker.brief[-1] == "idle"
    assert desk.engine.used == 0


def test_who_waits_for_what_is_being_computed_is_not_idle() -> None:
    desk = Desk(idle=1, backlog=1000)
    desk.model.step_seconds = 0.5
    client = desk.open()
    client.session.feed(frames(*[0.1] * 50))
    desk.work()
    assert client.brief == ["ready", *["0.1"] * 48]
    assert desk.statistics.steps == 50
    desk.wait(1)
    assert client.brief[-1] == "idle"


def test_a_session_may_last_so_long_and_no_longer() -> None:
    desk = Desk(session=20, idle=math.inf)
    client = desk.open()
    for _ in range(19):
        client.session.feed(frames(0.1))
        desk.wait(1)
    assert client.brief == ["ready", *["0.1"] * 17]
    desk.wait(1)
    assert client.brief[-1] == "too long"


def test_time_in_the_queue_is_not_time_of_the_session() -> None:
    desk = Desk(slots=1, session=20, idle=20, wait=1000)
    first, second = desk.open(), desk.open(wait=1000)
    desk.wait(19)
    first.session.close()
    desk.wait(19)
    assert second.brief == ["ready"]
    desk.wait(2)
    assert second.brief == ["ready", "idle"]


def test_who_does_not_read_has_stalled() -> None:
    desk = Desk(stall=5, idle=1000)
    client = desk.open()
    client.session.feed(frames(*[0.1] * 10))
    client.session.hold(True)
    desk.wait(4)
    client.session.hold(False)
    desk.work()
    client.session.hold(True)
    client.session.hold(True)
    desk.wait(4)
    assert client.brief[-1] == "0.1"
    client.session.hold(True)
    desk.wait(1.1)
    assert client.brief[-1] == "stalled"


def test_without_limits_nothing_wakes_the_engine() -> None:
    desk = Desk(stall=math.inf, idle=math.inf, session=math.inf)
    client = desk.open()
    assert desk.work() is None
    client.session.hold(True)
    assert desk.work() is None
    desk.model.now += 1e9
    assert desk.work() is None
    assert client.brief == ["ready"]


def test_the_backlog_counts_what_was_not_stepped() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(*[0.1] * 10))
    client.session.feed(frames(0.1)[:20])
    assert client.session.backlog == pytest.approx(10 * FRAME_SECONDS + 0.04)
    for left in (9, 8, 7):
        desk.engine.loop.turn()
        assert client.session.backlog == pytest.approx(left * FRAME_SECONDS + 0.04)
    assert desk.engine.lag == client.session.backlog
    desk.work()
    assert client.session.backlog == pytest.approx(0)


def test_there_is_room_again_once() -> None:
    desk = Desk(backlog=5 * FRAME_SECONDS)
    client = desk.open()
    client.session.feed(frames(*[0.1] * 5))
    desk.work()
    assert client.roomy == 0
    for _ in range(2):
        client.session.feed(frames(*[0.1] * 7))
        desk.engine.loop.turn()
        assert (client.roomy, client.session.backlog > 5 * FRAME_SECONDS) == (0, True)
        desk.engine.loop.turn()
        assert (client.roomy, client.session.backlog > 5 * FRAME_SECONDS) == (1, False)
        desk.work()
        assert client.roomy == 1
        client.roomy = 0


def test_a_flood_is_refused_and_costs_nothing_of_what_was_there() -> None:
    desk = Desk(backlog=1.0, message_seconds=1.0)
    client = desk.open()
    for _ in range(25):
        client.session.feed(frames(0.1))
    with pytest.raises(UsageError, match="send more slowly"):
        client.session.feed(frames(0.1))
    client.session.end()
    desk.work()
    assert client.brief == ["ready", *["0.1"] * 25, "done"]
    assert desk.statistics.refused_inputs == 1


@pytest.mark.parametrize("flood", ["samples", "marks", "resets"])
def test_a_flood_of_next_to_nothing_is_one_as_well(flood: str) -> None:
    desk = Desk(backlog=1.0, message_seconds=1.0)
    client = desk.open()
    bring = {
        "samples": lambda: client.session.feed(np.zeros(1, np.float32)),
        "marks": lambda: client.session.mark(1),
        "resets": client.session.reset,
    }[flood]
    for _ in range(200):
        bring()
    with pytest.raises(UsageError, match="send more slowly"):
        bring()
    desk.work()
    left = 2.0 if flood == "marks" else 0.0
    assert client.session.backlog == pytest.approx(left)


def test_nothing_costs_nothing() -> None:
    desk = Desk(backlog=0.1, message_seconds=0.1)
    client = desk.open()
    for _ in range(100):
        client.session.feed(np.empty(0, np.float32))
    assert client.session.backlog == 0


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (np.array([0.0, np.nan], np.float32), "NaN or infinite"),
        (np.array([-np.inf], np.float32), "NaN or infinite"),
        (np.array([12_000.0], np.float32), r"12000: give floats in \[-1, 1\]"),
        (np.zeros(4), r"not float64 \[4\]"),
        (np.zeros((2, 4), np.float32), r"not float32 \[2, 4\]"),
        (np.float32(1), "not float32"),
        ([0.1], "not list"),
        ("hello", "not str"),
        (np.zeros(10 * RATE + 1, np.float32), "at most 10 s"),
    ],
    ids=str,
)
def test_what_is_no_audio_is_refused_and_the_session_goes_on(item: Any, said: str) -> None:
    desk = Desk(message_seconds=10)
    client = desk.open()
    client.session.feed(frames(0.1))
    with pytest.raises(UsageError, match=said):
        client.session.feed(item)
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", "done"]
    assert desk.statistics.refused_inputs == 1


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (np.zeros(4, np.float32), "string, not ndarray"),
        (b"word", "not bytes"),
        ("a " * 11, "11 words: send at most 10"),
        ("a" * 201, "11 words"),
    ],
    ids=["audio", "bytes", "words", "characters"],
)
def test_what_is_no_text_is_refused(item: Any, said: str) -> None:
    client = Desk(family="tts", message_words=10).open()
    with pytest.raises(UsageError, match=said):
        client.session.feed(item)


def test_the_backlog_of_text_is_words() -> None:
    client = Desk(family="tts", message_words=10, backlog=10).open()
    client.session.feed("one two  three")
    client.session.feed("")
    client.session.feed(" ")
    client.session.feed("x" * 50)
    assert client.session.backlog == 3 + 1 + 3
    client.session.feed("a b c d e f g h i j")
    with pytest.raises(UsageError, match="more slowly"):
        client.session.feed("k l m n")
    with pytest.raises(UsageError, match="does not transcribe"):
        client.session.mark(1)
