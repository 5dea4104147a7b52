"""What goes wrong with a session ends that session, and nothing else."""

import gc
import weakref

import pytest
from support.counting_model import (
    BROKEN,
    POISON,
    REFUSED,
    UNTOLD,
    Client,
    Counting,
    CountingBatch,
    CountingRow,
    Desk,
    frames,
)

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.engine import Ended, Engine, Ready, Session, Statistics
from kyutai_onnx.server.limits import Limits

INTERNAL = Ended("failed", "internal error; the server's log has the cause")
VALUES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("fault", "reported", "faults"),
    [
        (REFUSED, Ended("failed", "this row wants no 2"), 0),
        (BROKEN, INTERNAL, 1),
        (UNTOLD, INTERNAL, 1),
    ],
    ids=["refused", "broken", "untold"],
)
def test_a_fault_of_one_row_is_reported_to_its_client_alone(
    fault: float, reported: Ended, faults: int
) -> None:
    desk = Desk(slots=3)
    clients = [desk.open() for _ in range(3)]
    for number, client in enumerate(clients):
        client.session.feed(frames(*VALUES, fault if number == 1 else 0.9))
        client.session.end()
    desk.work()
    reported_before = clients[1].brief[1:-1]
    assert 1 <= len(reported_before) < len(VALUES)
    assert reported_before == [f"{value:g}" for value in VALUES[: len(reported_before)]]
    assert clients[1].reported[-1] == reported
    for client in (clients[0], clients[2]):
        assert client.brief == ["ready", *[f"{value:g}" for value in VALUES], "0.9", "done"]
    assert desk.statistics.faults == faults
    assert desk.statistics.ended == {"failed": 1, "done": 2}
    assert (desk.engine.used, len(desk.model.batches)) == (0, 1)


def test_a_fault_of_the_step_is_reported_to_all_and_the_next_ones_begin_afresh() -> None:
    desk = Desk(slots=2, queue=5)
    first, second, waiting = desk.open(), desk.open(), desk.open(wait=50)
    first.session.feed(frames(0.1, 0.2))
    second.session.feed(frames(0.1, POISON))
    waiting.session.feed(frames(0.5))
    waiting.session.end()
    desk.work()
    assert (first.reported, second.reported) == ([Ready(), INTERNAL], [Ready(), INTERNAL])
    assert waiting.brief == ["ready", "0.5", "done"]
    assert (desk.engine.used, len(desk.model.batches), desk.statistics.faults) == (0, 2, 1)


@pytest.mark.parametrize("error", [UsageError("no such voice"), ZeroDivisionError("oh")])
def test_who_cannot_begin_gets_a_message(error: Exception) -> None:
    desk = Desk(slots=1)

    def fail(_: CountingBatch) -> CountingRow:
        raise error

    reported: list[object] = []
    session = Session(desk.engine, fail, reported.extend)
    desk.work()
    message = "no such voice" if isinstance(error, UsageError) else INTERNAL.message
    assert reported == [Ended("failed", message)]
    assert (session.over, desk.engine.used) == (True, 0)
    client = desk.open()
    desk.work()
    assert client.brief == ["ready"]


@pytest.mark.parametrize("when", ["ready", "words", "room", "end"])
def test_who_cannot_be_reached_loses_the_session_alone(when: str) -> None:
    desk = Desk(slots=2, backlog=0.1 if when == "room" else 10.0)
    client, other = desk.open(), desk.open()
    for one in (client, other):
        one.session.feed(frames(0.1, 0.1, 0.1))
    client.broken = when == "ready"
    desk.engine.loop.turn()
    client.broken = when in ("ready", "words", "room")
    if when == "end":
        client.session.end()
        for _ in range(3):
            desk.engine.loop.turn()
        client.broken = True
    other.session.end()
    desk.work()
    assert client.roomy == (1 if when == "room" else 0)
    assert client.reported[:1] == ([] if when == "ready" else [Ready()])
    assert other.brief[-2:] == ["0.1", "done"]
    assert desk.engine.used == 0
    assert desk.statistics.faults == (2 if when == "room" else 1)


def test_a_batch_that_cannot_be_left_is_given_up() -> None:
    desk = Desk(slots=2)
    client, other = desk.open(), desk.open()
    desk.work()
    desk.rows.pop(0)  # the row of `client`
    client.session.close()
    desk.work()
    assert other.reported == [Ready(), INTERNAL]
    assert (desk.engine.used, desk.statistics.faults) == (0, 1)
    client = desk.open()
    client.session.feed(frames(0.1))
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", "done"]


def test_no_fresh_batch_is_reported_to_each_who_asks_for_one() -> None:
    desk = Desk(slots=2)
    client = desk.open()
    client.session.feed(frames(POISON))
    desk.model.is_lost = True
    desk.work()
    other = desk.open()
    desk.work()
    assert other.reported == [INTERNAL]
    desk.model.is_lost = False
    another = desk.open()
    desk.work()
    assert another.brief == ["ready"]
    assert desk.statistics.faults == 2


def test_a_guided_engine_makes_guided_batches() -> None:
    model = Counting()
    engine = Engine("counting", model, 1, Limits(), Statistics(), guided=True, clock=model.clock)
    client = Client(engine)
    client.session.feed(frames(POISON))
    engine.loop.turn()
    Client(engine)
    engine.loop.turn()
    assert (model.guided, Desk().model.guided) == ([True, True], [False])


def test_a_step_that_steps_nothing_is_a_fault() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1))
    desk.model.batches[0].step = lambda held=(): False  # type: ignore[method-assign]
    desk.work()
    assert client.reported == [Ready(), INTERNAL]


def test_what_is_over_is_remembered_by_nobody() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1))
    desk.engine.loop.turn()
    (row,) = desk.rows
    (admitted,) = desk.engine.loop.active.sessions
    held = [weakref.ref(one) for one in (client, client.session, admitted, row)]
    client.session.end()
    desk.work()
    del client, admitted, row
    gc.collect()
    assert [reference() for reference in held] == [None] * 4


def test_a_client_may_close_while_it_is_reported() -> None:
    desk = Desk(slots=1)
    client = desk.open()
    client.leaves = True
    client.session.feed(frames(0.1))
    desk.work()
    assert (desk.engine.used, desk.model.log) == (0, [])
