"""Many sessions that do all that sessions can do, at random: nobody loses what is theirs."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from support.counting_model import BROKEN, DELAY, FRAME, POISON, RATE, REFUSED, Client, Desk, frames

from kyutai_onnx.models.events import Word
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.engine import Busy, Ended, Marked, Ready

SLOTS, QUEUE = 8, 6
ENDS = {"done", "idle", "too long", "stalled", "busy", "shutdown", "failed"}


class RandomClient(Client):
    """A client that remembers what it brought."""

    def __init__(self, desk: Desk, wait: float) -> None:
        super().__init__(desk.engine, wait=wait)
        self.segments: list[list[float]] = [[]]
        self.marks: list[int] = []
        self.ended = self.left = False

    def feed(self, pcm: np.ndarray) -> None:
        self.session.feed(pcm)
        if not self.session.over:
            self.segments[-1] += pcm.tolist()

    def words(self) -> list[str]:
        """Of all that it brought: a new beginning cuts off those that the text lags behind with."""
        whole = [segment[: len(segment) // FRAME * FRAME : FRAME] for segment in self.segments]
        recognized = [*(values[:-DELAY] for values in whole[:-1]), whole[-1]]
        return [f"{np.float32(value):g}" for values in recognized for value in values if value]

    def check(self) -> None:
        words = [reported.text for reported in self.reported if isinstance(reported, Word)]
        marks = [reported.id for reported in self.reported if isinstance(reported, Marked)]
        expected, complete = self.words(), Ended("done") in self.reported
        assert words == expected[: None if complete else len(words)]
        assert marks == self.marks[: None if complete else len(marks)]
        ends = [reported for reported in self.reported if isinstance(reported, Ended)]
        assert ends == [] or ends == self.reported[-1:]
        assert ends or self.left or self.broken
        if self.reported and not isinstance(self.reported[0], Ended):
            assert isinstance(self.reported[0], Ready)


class Storm:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        limits = {"idle": 15.0, "session": 40.0, "stall": 6.0, "backlog": 8.0}
        self.desk = Desk(SLOTS, queue=QUEUE, wait=30.0, message_seconds=4.0, **limits)
        self.desk.model.step_seconds = 0.02
        self.clients: list[RandomClient] = []
        self.busy = self.steps = self.refused = 0
        self.deeds: list[tuple[Callable[[], object], float]] = [
            (self.enter, 3),
            (self.feed, 20),
            (self.feed_wrong, 1),
            (self.flood, 0.3),
            (self.spoil, 0.3),
            (self.mark, 3),
            (self.reset, 1),
            (self.end, 1),
            (self.leave, 0.6),
            (self.be_deaf, 0.2),
            (self.hold, 2),
            (self.pass_time, 2),
        ]

    def run(self, deeds: int) -> None:
        todo, weights = zip(*self.deeds, strict=True)
        for deed in self.random.choices(todo, weights, k=deeds):
            deed()
            for _ in range(self.random.randrange(3)):
                self.desk.engine.loop.turn()
            assert self.desk.engine.used <= SLOTS
            assert self.desk.engine.queued <= QUEUE
            assert len(self.desk.rows) <= SLOTS

    @property
    def client(self) -> RandomClient:
        """One of those who came last."""
        return self.random.choice(self.clients[-14:])

    def enter(self) -> None:
        try:
            self.clients.append(RandomClient(self.desk, self.random.choice([0.0, 5.0, 60.0])))
        except Busy:
            self.busy += 1

    def try_to(self, bring: Callable[[], object]) -> None:
        """Does what may be refused, which changes nothing."""
        try:
            bring()
        except UsageError:
            self.refused += 1

    def feed(self) -> None:
        if self.clients:
            client, count = self.client, self.random.randrange(60)
            value = self.random.choice([0.0, self.random.randrange(1, 1000) / 1000])
            pcm = np.full(self.random.choice([count, FRAME, 2 * FRAME]), value, np.float32)
            self.try_to(lambda: client.feed(pcm))

    def feed_wrong(self) -> None:
        if self.clients:
            wrong = [np.nan, np.inf, 1e6]
            pcm = np.full(self.random.randrange(1, 50), self.random.choice(wrong), np.float32)
            with pytest.raises(UsageError):
                self.client.session.feed(pcm)

    def flood(self) -> None:
        if self.clients:
            client = self.client
            for _ in range(self.random.randrange(200)):
                self.try_to(lambda: client.feed(frames(0.25, 0.5)))

    def spoil(self) -> None:
        if self.clients:
            fault = self.random.choices([REFUSED, BROKEN, POISON], [5, 5, 1])[0]
            client = self.client
            self.try_to(lambda: client.feed(frames(*[0.0] * (DELAY + 1), fault)))

    def mark(self) -> None:
        if self.clients:
            client, number = self.client, self.random.randrange(10_000)
            self.try_to(lambda: self._mark(client, number))

    def _mark(self, client: RandomClient, number: int) -> None:
        over = client.session.over
        client.session.mark(number)
        if not over:
            client.marks.append(number)

    def reset(self) -> None:
        if self.clients:
            client = self.client
            self.try_to(lambda: self._reset(client))

    def _reset(self, client: RandomClient) -> None:
        client.session.reset()
        client.segments.append([])

    def end(self) -> None:
        if self.clients:
            self.client.session.end()

    def leave(self) -> None:
        if self.clients:
            client = self.client
            client.left = True
            client.session.close()

    def be_deaf(self) -> None:
        if self.clients:
            self.client.broken = True

    def hold(self) -> None:
        if self.clients:
            self.client.session.hold(self.random.random() < 0.4)

    def pass_time(self) -> None:
        self.desk.wait(self.random.choice([0.1, 0.5, 2.0, 10.0]))


@pytest.mark.parametrize("seed", range(12))
def test_nobody_loses_what_is_theirs(seed: int) -> None:
    storm = Storm(seed)
    storm.run(2500)
    counted = storm.desk.statistics
    assert len(storm.clients) > 50
    assert storm.busy > 0
    assert storm.refused > 0
    storm.desk.engine.loop.stop(seconds=storm.random.choice([0.0, 1.0, 100.0]))
    storm.desk.wait(100)
    for client in storm.clients:
        client.check()
    assert storm.desk.engine.loop.finished
    assert (storm.desk.engine.used, storm.desk.engine.queued) == (0, 0)
    assert counted.opened == len(storm.clients) == sum(counted.ended.values())
    assert counted.refused == storm.busy
    assert counted.row_steps == sum(map(len, storm.desk.model.log)) - poisoned(storm)
    assert set(counted.ended) <= ENDS | {"abandoned"}
    assert storm.desk.statistics.audio_seconds == pytest.approx(counted.row_steps * FRAME / RATE)


def poisoned(storm: Storm) -> int:
    """Rows of steps that came to nothing."""
    return sum(len(step) for step in storm.desk.model.log if POISON in step)


def test_the_storms_meet_all_there_is_to_meet() -> None:
    ended = set[str]()
    for seed in range(12):
        storm = Storm(seed)
        storm.run(1000)
        storm.desk.engine.loop.stop(seconds=0.0)
        storm.desk.work()
        ended |= set(storm.desk.statistics.ended)
    assert ended == ENDS | {"abandoned"}
