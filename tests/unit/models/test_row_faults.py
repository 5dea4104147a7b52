"""What goes wrong in one row of a batch ends that row; the others make what they make alone."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Command
from support.counting_model import BROKEN, Desk, frames
from support.scripted_models import ONE, PLURAL, TWO, moshi, ramp, tokens
from support.speech import Array

from kyutai_onnx.models import Event, Hibiki, Moshi, SpeechToText
from kyutai_onnx.models.lm.generation import StepHooks
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.models.stt.task import SpeechToTextTask
from kyutai_onnx.runtime.errors import KyutaiOnnxError, ModelError, UsageError
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.server.engine import Ended, Engine, Session, Statistics
from kyutai_onnx.server.limits import Limits

TASK = ("prepare", "next_codes", "on_step", "on_audio", "flush")
RULES = ("samples_text", "constrain", "choose_text", "makes_audio", "choose_audio")
FRAMES = 12


class BrokenError(Exception):
    """What a task raises."""


def breaks(method: Callable[..., Any], after: int, made: Any = None) -> Callable[..., Any]:
    """A method that raises, or returns something else, after so many calls."""
    calls = 0

    def broken(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= after:
            return method(*given)
        if made is None:
            raise BrokenError("the task broke")
        return made

    return broken


def spoil(row: Any, method_name: str) -> None:
    """Breaks a method of a row, mostly in the middle of what it has to do."""
    after = 0 if method_name == "flush" else 5
    if method_name in TASK:
        setattr(row.task, method_name, breaks(getattr(row.task, method_name), after))
        return
    rules = StepHooks()
    if method_name == "nan":
        made = np.full(10, np.nan, np.float32)
        setattr(rules, "constrain", breaks(rules.constrain, after, made))  # noqa: B010
    else:
        setattr(rules, method_name, breaks(getattr(rules, method_name), after))
    row.batch.generator._rows[row.index].rules = rules


def assert_same(found: Sequence[Event], expected: Sequence[Event]) -> None:
    """The same events, sound to within rounding."""
    assert list(map(type, found)) == list(map(type, expected))
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in vars(theirs).items():
            if value is None or isinstance(value, str):
                assert vars(ours)[name] == value
            else:
                np.testing.assert_allclose(vars(ours)[name], value, atol=1e-4)


@pytest.fixture
def partner() -> Moshi:
    return moshi(tokens(ONE, PLURAL, TWO, ONE, TWO))


def said_alone(partner: Moshi, seed: int) -> list[Event]:
    stream = partner.stream(temperature=0.5, text_temperature=0.5, seed=seed)
    return [*stream.feed(ramp(FRAMES + seed)), *stream.flush()]


def talk(partner: Moshi, batch: Any, seed: int) -> Any:
    row = batch.join(partner.task(temperature=0.5, text_temperature=0.5, seed=seed))
    row.feed(ramp(FRAMES + seed))
    row.end()
    return row


@pytest.mark.parametrize("method_name", [*TASK, *RULES, "nan"])
def test_a_method_that_breaks_in_a_row_ends_that_row_alone(
    method_name: str, partner: Moshi
) -> None:
    batch = partner.batch(3)
    rows = [talk(partner, batch, seed) for seed in range(3)]
    spoil(rows[1], method_name)
    while batch.step():
        pass
    for seed in (0, 2):
        assert rows[seed].done
        assert_same(rows[seed].events(), said_alone(partner, seed))
    error = ModelError if method_name == "nan" else BrokenError
    assert type(rows[1].error) is error
    with pytest.raises(error):
        rows[1].events()
    for use in (lambda: rows[1].feed(ramp(1)), rows[1].save):
        with pytest.raises(UsageError, match="has failed"):
            use()
    batch.leave(rows[1])
    again = talk(partner, batch, 4)
    while batch.step():
        pass
    assert_same(again.events(), said_alone(partner, 4))


@pytest.mark.parametrize("method_name", [*TASK, *RULES, "nan"])
def test_a_stream_alone_raises_what_broke_and_is_healed_by_a_reset(
    method_name: str, partner: Moshi
) -> None:
    stream = partner.stream(temperature=0.5, text_temperature=0.5, seed=3)
    row: Any = stream._row
    spoil(row, method_name)
    with pytest.raises(ModelError if method_name == "nan" else BrokenError):
        [*stream.feed(ramp(FRAMES + 3)), *stream.flush()]
    with pytest.raises(UsageError, match=r"has (failed|ended)"):
        stream.feed(ramp(1))
    for name in TASK:
        vars(row.task).pop(name, None)
    stream.reset()
    found = [*stream.feed(ramp(FRAMES + 3)), *stream.flush()]
    assert_same(found, said_alone(partner, 3))


class Failing:
    """Graphs that fail by name: at runs of given numbers, or all of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.name, self.at = "", range(0)
        self.runs = 0
        run = Graph.run

        def failing(graph: Graph, binding: Any, options: Any) -> None:
            if graph.name == self.name:
                self.runs += 1
                if self.runs in self.at:
                    raise BrokenError("the graph failed")
            run(graph, binding, options)

        patch.setattr(Graph, "run", failing)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


@pytest.fixture(scope="module")
def interpreter() -> Hibiki:
    return Hibiki.load(DEMO / "hibiki")


@pytest.mark.parametrize(
    "name", ["mimi_encoder", "temporal_transformer", "depth_transformer", "mimi_decoder"]
)
def test_a_graph_that_fails_once_costs_no_row_anything(
    name: str, failing: Failing, interpreter: Hibiki, pcm: Array
) -> None:
    def join(batch: Any, seed: int) -> Any:
        row = batch.join(interpreter.task(seed=seed, max_tail=0.2, temperature=0.5))
        row.feed(pcm[4000 * seed : 4000 * seed + 30_000])
        row.end()
        return row

    expected = []
    for seed in range(3):
        alone = interpreter.batch(1)
        row = join(alone, seed)
        while alone.step():
            pass
        expected.append(row.events())
    batch = interpreter.batch(3)
    rows = [join(batch, seed) for seed in range(3)]
    failing.name, failing.at = name, range(3, 4)
    while batch.step():
        pass
    assert failing.runs > 5
    for row, events in zip(rows, expected, strict=True):
        assert_same(row.events(), events)


def test_a_graph_that_fails_always_ends_each_row(
    failing: Failing, model: SpeechToText, pcm: Array
) -> None:
    batch = model.batch(3)
    rows = [batch.join(model.task()) for _ in range(3)]
    for row in rows[:2]:
        row.feed(pcm)
    failing.name, failing.at = "temporal_transformer", range(3, 1 << 30)
    while batch.step():
        pass
    for row in rows[:2]:
        with pytest.raises(BrokenError):
            row.events()
    failing.at = range(0)
    rows[2].feed(pcm)
    rows[2].end()
    while batch.step():
        pass
    stream = model.stream()
    assert_same(rows[2].events(), [*stream.feed(pcm), *stream.flush()])


def test_codes_that_a_graph_refuses_end_the_row_that_brought_them(
    model: SpeechToText, pcm: Array
) -> None:
    stream, batch = model.stream(), model.batch(3)
    rows = [batch.join(model.task()) for _ in range(3)]
    rows[1].task.queue.push_codes(np.full((1, 8), 1 << 40))
    for row in rows:
        row.feed(pcm)
        row.end()
    while batch.step():
        pass
    assert rows[1].error is not None
    expected = [*stream.feed(pcm), *stream.flush()]
    for row in (rows[0], rows[2]):
        assert_same(row.events(), expected)


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (BrokenError("secret"), "internal error; the server's log has the cause"),
        (KyutaiOnnxError("the disk is full"), "the disk is full"),
        (UsageError("no such thing"), "no such thing"),
    ],
)
def test_an_engine_ends_the_session_whose_row_broke(
    error: Exception, reported: str, model: SpeechToText, pcm: Array
) -> None:
    statistics = Statistics()
    engine = Engine("stt", model, 3, Limits(), statistics)

    def begin(batch: Any, number: int) -> Any:
        row = batch.join(model.task())
        if number == 1:

            def raises() -> Array:
                raise error

            setattr(row.task, "next_codes", raises)  # noqa: B010
        return row

    recognized: list[list[Any]] = [[], [], []]
    sessions = [
        Session(
            engine, lambda batch, number=number: begin(batch, number), recognized[number].extend
        )
        for number in range(3)
    ]
    for session in sessions:
        session.feed(pcm)
        session.end()
    while engine.loop.turn() == 0:
        pass
    stream = model.stream()
    expected = [*stream.feed(pcm), *stream.flush()]
    assert recognized[1][-1] == Ended("failed", reported)
    for number in (0, 2):
        assert recognized[number][-1] == Ended("done")
        assert_same(recognized[number][1:-1], expected)
    assert statistics.ended == {"failed": 1, "done": 2}
    assert statistics.faults == (0 if isinstance(error, UsageError) else 1)


def test_a_batch_whose_row_broke_is_not_used_again_once_it_is_empty() -> None:
    desk = Desk(slots=2)
    client = desk.open()
    client.session.feed(frames(BROKEN))
    desk.work()
    assert client.brief == ["ready", "failed"]
    other = desk.open()
    other.session.feed(frames(0.1))
    other.session.end()
    desk.work()
    assert other.brief == ["ready", "0.1", "done"]
    assert len(desk.model.batches) == 2


def test_a_file_whose_row_broke_fails_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch, speech: Path, text: str, tmp_path: Path
) -> None:
    take = SpeechToTextTask.on_step
    broken: list[SpeechToTextTask] = []

    def breaking(task_name: SpeechToTextTask, *given: Any) -> list[Event]:
        broken.append(task_name)
        if task_name is not broken[0]:
            return take(task_name, *given)
        raise BrokenError("the task broke")

    monkeypatch.setattr(SpeechToTextTask, "on_step", breaking)
    first = shutil.copy(speech, tmp_path / "first.wav")
    ended = command("transcribe", first, speech, "--model", DEMO / "stt", "--quiet")
    assert ended.code == 1
    assert "the task broke" in ended.error
    assert text in ended.out
