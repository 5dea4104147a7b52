"""Sessions of the engine: they get a slot or wait for one, are served in order, and leave."""

import gc

import numpy as np
import pytest
from support.counting_model import FRAME_SECONDS, Desk, frames

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.engine import Busy, Ended, Session


def test_a_session_is_ready_transcribed_and_done() -> None:
    desk = Desk()
    client = desk.open()
    assert (client.reported, desk.engine.used) == ([], 1)
    desk.work()
    assert client.brief == ["ready"]
    client.session.feed(frames(0.1, 0.2, 0.3))
    desk.work()
    assert client.brief == ["ready", "0.1"]
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", "0.3", "done"]
    assert (desk.engine.used, desk.rows, client.session.over) == (0, [], True)


def test_samples_may_come_in_any_pieces_and_before_there_is_a_slot() -> None:
    desk = Desk()
    client = desk.open()
    pcm = frames(0.1, 0.2, 0.3, 0.4, 0.5)
    for piece in np.split(pcm, [1, 2, 30, 110, 110, 121]):
        client.session.feed(piece)
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", "0.3", "0.4", "0.5", "done"]


def test_the_engine_keeps_a_copy_of_what_it_is_fed() -> None:
    desk = Desk()
    client = desk.open()
    pcm = frames(0.1, 0.2)
    client.session.feed(pcm)
    pcm[:] = 0.9
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", "done"]


def test_one_with_many_small_inputs_starves_nobody() -> None:
    desk = Desk(slots=2)
    flooder, live = desk.open(), desk.open()
    for _ in range(1000):
        flooder.session.reset()
    live.session.feed(frames(0.1))
    desk.engine.loop.turn()
    assert desk.model.log == [[0.1]]
    assert flooder.brief.count("ready") < 100
    desk.work()
    assert flooder.brief.count("ready") == 1001


def test_sessions_are_stepped_together_and_one_with_much_audio_starves_nobody() -> None:
    desk = Desk(slots=3)
    hoarder, live = desk.open(), desk.open()
    hoarder.session.feed(frames(*[0.5] * 200))
    for number in range(1, 5):
        live.session.feed(frames(number / 10))
        desk.engine.loop.turn()
    assert desk.model.log == [[0.5, 0.1], [0.5, 0.2], [0.5, 0.3], [0.5, 0.4]]
    late = desk.open()
    late.session.feed(frames(0.7))
    desk.engine.loop.turn()
    assert desk.model.log[-1] == [0.5, 0.7]


def test_all_slots_taken_is_said_at_once() -> None:
    desk = Desk(slots=2, queue=0)
    desk.open()
    desk.open()
    for wait in (0.0, 5.0):
        with pytest.raises(Busy, match="no free channels"):
            desk.open(wait=wait)
    assert (desk.statistics.opened, desk.statistics.refused) == (2, 2)


def test_those_who_wait_get_slots_in_their_order() -> None:
    desk = Desk(slots=1, queue=2)
    first, second, third = desk.open(), desk.open(wait=50), desk.open(wait=50)
    with pytest.raises(Busy):
        desk.open(wait=50)
    with pytest.raises(Busy):
        desk.open()
    second.session.feed(frames(0.2))
    second.session.end()
    desk.work()
    assert (first.brief, second.brief, third.brief) == (["ready"], [], [])
    assert (desk.engine.used, desk.engine.queued) == (1, 2)
    first.session.close()
    desk.work()
    assert (first.brief, second.brief, third.brief) == (
        ["ready"],
        ["ready", "0.2", "done"],
        ["ready"],
    )
    assert (desk.engine.used, desk.engine.queued) == (1, 0)


def test_who_has_waited_long_enough_is_reported_that_all_is_busy() -> None:
    desk = Desk(slots=1, queue=5, wait=8.0)
    desk.open()
    patient, impatient, capped = desk.open(wait=7), desk.open(wait=3), desk.open(wait=1000)
    assert desk.work() == 3.0
    desk.wait(3)
    assert (patient.brief, impatient.brief, capped.brief) == ([], ["busy"], [])
    desk.wait(4.5)
    assert (patient.brief, capped.brief) == (["busy"], [])
    desk.wait(0.5)
    assert (capped.brief, desk.engine.queued) == (["busy"], 0)
    assert desk.statistics.ended == {"busy": 3}


def test_who_leaves_the_queue_is_forgotten() -> None:
    desk = Desk(slots=1, queue=1)
    first, second = desk.open(), desk.open(wait=50)
    second.session.close()
    assert desk.engine.queued == 0
    third = desk.open(wait=50)
    first.session.close()
    desk.work()
    assert (second.brief, third.brief) == ([], ["ready"])


def test_a_slot_can_be_taken_again_in_the_moment_in_which_it_is_left() -> None:
    desk = Desk(slots=1)
    for _ in range(5):
        client = desk.open()
        client.session.feed(frames(0.1))
        client.session.close()
        client.session.close()
    client = desk.open()
    desk.work()
    assert (client.brief, len(desk.rows), desk.engine.used) == (["ready"], 1, 1)


def test_who_left_is_stepped_and_sent_no_more() -> None:
    desk = Desk()
    client, other = desk.open(), desk.open()
    client.session.feed(frames(0.1, 0.2, 0.3, 0.4))
    other.session.feed(frames(0.6))
    desk.engine.loop.turn()
    client.session.close()
    client.session.feed(frames(0.1))
    client.session.mark(1)
    client.session.end()
    desk.work()
    assert client.brief == ["ready"]
    assert desk.model.log == [[0.1, 0.6]]
    assert desk.statistics.ended == {"abandoned": 1}


def test_a_session_that_is_garbage_frees_its_slot() -> None:
    desk = Desk(slots=1)
    engine = desk.engine
    cycle = [Session(engine, lambda batch: batch.join(), lambda _: None)]
    cycle.append(cycle)  # type: ignore[arg-type]
    cycle[0].feed(frames(0.1, 0.2))
    engine.loop.turn()
    assert (engine.used, len(desk.rows)) == (1, 1)
    del cycle
    gc.collect()
    desk.work()
    assert (engine.used, desk.rows) == (0, [])
    assert desk.statistics.ended == {"abandoned": 1}


def test_a_session_restarts_after_what_came_before() -> None:
    desk = Desk()
    client = desk.open()
    client.session.feed(frames(0.1, 0.2, 0.3))
    client.session.mark(7)
    client.session.reset()
    client.session.feed(frames(0.4))
    client.session.end()
    desk.work()
    assert client.brief == ["ready", "0.1", 7, "ready", "0.4", "done"]


def test_nothing_is_taken_after_the_end() -> None:
    desk = Desk()
    client = desk.open()
    client.session.end()
    client.session.end()
    for bring in (
        lambda: client.session.feed(frames(0.1)),
        lambda: client.session.mark(1),
        client.session.reset,
    ):
        with pytest.raises(UsageError, match="has ended"):
            bring()
    desk.work()
    assert client.brief == ["ready", "done"]


def test_a_session_that_the_engine_has_ended_ignores_what_it_is_given() -> None:
    desk = Desk(idle=1)
    client = desk.open()
    desk.wait(2)
    assert client.reported[-1] == Ended("idle")
    client.session.feed(frames(0.1))
    client.session.mark(1)
    client.session.hold(True)
    client.session.end()
    client.session.close()
    desk.work()
    assert client.brief == ["ready", "idle"]
    assert desk.statistics.ended == {"idle": 1}


def test_what_is_held_is_not_stepped_and_loses_nothing() -> None:
    desk = Desk()
    client, other = desk.open(), desk.open()
    client.session.feed(frames(0.1, 0.2, 0.3))
    other.session.feed(frames(0.6, 0.7, 0.8))
    desk.engine.loop.turn()
    client.session.hold(True)
    client.session.end()
    desk.work()
    assert desk.model.log == [[0.1, 0.6], [0.7], [0.8]]
    client.session.hold(False)
    desk.work()
    assert client.brief == ["ready", "0.1", "0.2", "0.3", "done"]


def test_what_was_done_is_counted() -> None:
    desk = Desk(slots=3, queue=1)
    client, other = desk.open(), desk.open()
    client.session.feed(frames(0.1, 0.2, 0.3))
    other.session.feed(frames(0.1))
    desk.work()
    counted = desk.statistics
    assert (counted.steps, counted.row_steps, counted.starved_rows) == (3, 4, 2)
    assert counted.audio_seconds == pytest.approx(4 * FRAME_SECONDS)
    assert counted.real_time_factor == pytest.approx(4 * FRAME_SECONDS / 0.003, rel=0.02)
    assert counted.step_seconds.sum == pytest.approx(0.003)
    assert counted.rows.cumulative == [2, 3, 3, 3, 3, 3, 3, 3, 3]
    client.session.close()
    desk.work()
    assert (counted.session_steps.count, counted.session_steps.sum) == (1, 3)
    assert counted.queue_seconds.count == 2
