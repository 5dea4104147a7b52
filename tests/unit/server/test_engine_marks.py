"""Marks: each comes back once what was fed before it is transcribed, by the row's own frames."""

import numpy as np
import pytest
from support.counting_model import DELAY, FRAME, Desk, frames

SILENCE = [0.0] * DELAY


def test_a_mark_comes_after_the_words_before_it_and_before_those_after_it() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1, 0.2))
    client.session.mark(1)
    desk.work()
    assert client.brief == ["ready"]
    client.session.feed(frames(0.3, 0.4))
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", 1]
    client.session.feed(frames(*SILENCE))
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", 1, "0.3", "0.4"]


def test_marks_count_the_frames_of_their_own_session() -> None:
    desk = Desk()
    client, other = desk.open(), desk.open()
    other.session.feed(frames(*[0.7] * 50))
    client.session.feed(frames(0.1))
    client.session.mark(1)
    desk.work()
    assert client.brief == ["ready"]
    client.session.feed(frames(*SILENCE))
    desk.work()
    assert client.brief == ["ready", "0.1", 1]


def test_a_part_of_a_frame_is_waited_for_too() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1, 0.2)[:-1])
    client.session.mark(1)
    client.session.feed(frames(0.0, *SILENCE[1:])[:-2])
    desk.work()
    assert 1 not in client.brief
    client.session.feed(frames(0.0))
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", 1]


@pytest.mark.parametrize("left_over", range(FRAME))
def test_a_mark_brings_its_own_silence_where_it_is_asked_to(left_over: int) -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1, 0.2, 0.3)[: 3 * FRAME - left_over])
    client.session.mark(1, flush=True)
    client.session.mark(2)
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", "0.3", 1]
    client.session.feed(frames(0.4))
    client.session.mark(3, flush=True)
    client.session.end()
    desk.work()
    assert [reported for reported in client.brief if isinstance(reported, int)] == [1, 2, 3]
    assert client.brief.index("0.4") < client.brief.index(3)
    assert client.session.backlog == pytest.approx(0)


def test_marks_of_one_moment_come_in_their_order() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1))
    for number in (5, 3, 4):
        client.session.mark(number)
    client.session.feed(frames(*SILENCE))
    desk.work()
    assert client.brief == ["ready", "0.1", 5, 3, 4]


def test_marks_that_wait_come_at_the_end() -> None:
    desk = Desk()
    client = desk.open()
    client.session.mark(1)
    client.session.feed(frames(0.1))
    client.session.mark(2)
    client.session.end()
    client.session.hold(False)
    desk.work()
    assert client.brief == ["ready", 1, "0.1", 2, "done"]


def test_a_mark_before_a_reset_does_not_wait_for_what_is_after_it() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(np.concatenate([frames(0.1), frames(0.2)[:1]]))
    client.session.mark(1)
    client.session.reset()
    client.session.feed(frames(0.3))
    client.session.mark(2)
    client.session.feed(frames(*SILENCE))
    desk.work()
    assert client.brief == ["ready", 1, "ready", "0.3", 2]


def test_marks_among_many_sessions() -> None:
    desk = Desk(slots=30)
    clients = [desk.open() for _ in range(30)]
    for turn in range(1, 40):
        for number, client in enumerate(clients):
            if (turn + number) % 3:
                client.session.feed(frames(turn / 1000))
                client.session.mark(turn)
        desk.engine.loop.turn()
    for client in clients:
        client.session.end()
    desk.work()
    for client in clients:
        reported = client.brief[1:-1]
        marks = [t for t in reported if isinstance(t, int)]
        assert len(marks) >= 25
        for mark in marks:
            assert reported.index(f"{mark / 1000:g}") < reported.index(mark)
        assert reported == sorted(
            reported, key=lambda t: float(t) if isinstance(t, str) else t / 1000
        )
