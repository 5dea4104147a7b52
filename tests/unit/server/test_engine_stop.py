"""The engine stops: input is worked off while there is time, and all sessions end."""

import pytest
from support.counting_model import Desk, frames

from kyutai_onnx.server.engine import Busy


def test_everyone_is_reported_whatever_they_were_doing() -> None:
    desk = Desk(slots=5, queue=5, stall=1000)
    desk.model.step_seconds = 0.5
    idle, live, file, held, gone = (desk.open() for _ in range(5))
    queued = desk.open(wait=50)
    live.session.feed(frames(0.1, 0.2))
    file.session.feed(frames(0.3, 0.4, 0.5))
    file.session.end()
    held.session.feed(frames(0.6))
    desk.engine.loop.turn()
    held.session.hold(True)
    gone.session.close()
    desk.engine.loop.turn()
    queued_too = desk.open(wait=50)
    desk.engine.loop.stop(seconds=10.0)
    with pytest.raises(Busy, match="shutting down"):
        desk.open(wait=50)
    live.session.feed(frames(0.9))
    desk.work()
    assert queued.brief == ["ready", "shutdown"]
    assert queued_too.brief == ["shutdown"]
    assert idle.brief == ["ready", "shutdown"]
    assert live.brief == ["ready", "0.1", "0.2", "shutdown"]
    assert file.brief == ["ready", "0.3", "0.4", "0.5", "done"]
    assert (held.brief, gone.brief) == (["ready"], ["ready"])
    assert not desk.engine.loop.finished
    desk.wait(10)
    assert held.brief == ["ready", "shutdown"]
    assert (desk.engine.loop.finished, desk.engine.used, desk.engine.queued) == (True, 0, 0)


def test_there_is_only_so_much_time() -> None:
    desk = Desk(backlog=1000)
    desk.model.step_seconds = 0.5
    client = desk.open()
    client.session.feed(frames(*[0.1] * 100))
    client.session.end()
    desk.engine.loop.stop(seconds=3.0)
    desk.work()
    assert client.brief == ["ready", *["0.1"] * 4, "shutdown"]
    assert desk.engine.loop.finished


@pytest.mark.parametrize("started", [True, False])
def test_no_time_at_all(started: bool) -> None:
    desk = Desk(slots=1, queue=1)
    client, waiting = desk.open(), desk.open(wait=50)
    client.session.feed(frames(0.1))
    if started:
        desk.engine.start()
        while not client.reported:
            pass
    desk.engine.stop(0.0)
    assert client.reported[-1].reason == "shutdown"  # type: ignore[union-attr]
    assert waiting.brief == ["shutdown"]
    desk.engine.stop(0.0)
    assert not desk.engine.alive


def test_a_second_stop_may_be_more_urgent() -> None:
    desk = Desk()
    client = desk.open()
    client.session.hold(True)
    desk.engine.loop.stop(seconds=100.0)
    desk.work()
    assert client.brief == ["ready"]
    desk.engine.loop.stop(seconds=0.0)
    desk.work()
    assert client.brief == ["ready", "shutdown"]


def test_sessions_that_were_closed_before_the_stop_hold_it_up_no_longer() -> None:
    desk = Desk(slots=1)
    client = desk.open()
    desk.work()
    client.session.close()
    desk.engine.loop.stop(seconds=100.0)
    desk.work()
    assert desk.engine.loop.finished
    assert client.brief == ["ready"]
