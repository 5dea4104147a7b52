"""Batches of every family: rows that join, hold, leave, reset and are moved make what a stream
alone makes, and those that are not there cost nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scripted_models import ONE, PLURAL, TWO, ends_after, hibiki, moshi, ramp, tokens
from support.speaking import speaking_bundle
from support.speech import Array, hiss, write_wav

from kyutai_onnx.models import Event, Hibiki, SpeechToText, TextToSpeech
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.graph.batch_state import Binding
from kyutai_onnx.runtime.state_file import write_state

ROWS = 4


@dataclass
class Case:
    """A family: how a batch of it is opened, a row's parameters by the number of the job,
    what it is given in pieces, and what a stream alone makes of that."""

    open: Callable[..., Any]
    join: Callable[[Any, int], Any]
    given: Callable[[int], list[Any]]
    alone: Callable[[int], list[Event]]
    jobs: int = 9


def speech_to_text(pcm: Array) -> Case:
    model = SpeechToText.load(DEMO / "stt")

    def alone(job: int) -> list[Event]:
        stream = model.stream(seed=job, live=job % 2 == 0)
        return [*stream.feed(np.concatenate(given(job))), *stream.flush()]

    def given(job: int) -> list[Any]:
        return pieces(pcm[1000 * job : len(pcm) - 3000 * job], job)

    def join(batch: Any, job: int) -> Any:
        return batch.join(model.task(seed=job, live=job % 2 == 0))

    return Case(model.batch, join, given, alone)


def text_to_speech(_: Array) -> Case:
    model = TextToSpeech.load(DEMO / "tts")
    speaker = model.load_voice(None)
    texts = ["set an alarm for seven thirty", "stop", "turn on the light in the kitchen"]

    def given(job: int) -> list[Any]:
        return [f"{word} " for word in texts[job % 3].split()]

    def alone(job: int) -> list[Event]:
        stream = model.stream(seed=job)
        return [*stream.feed("".join(given(job))), *stream.flush()]

    def join(batch: Any, job: int) -> Any:
        return batch.join(model.task(speaker, seed=job))

    return Case(model.batch, join, given, alone)


def guided_speech(folder: Path) -> Case:
    """Voices of all kinds: guided and not, cloned from recordings, and saved."""
    model = TextToSpeech(speaking_bundle(folder / "bundle", embeddings=False))
    recording = write_wav(folder / "voice.wav", hiss(0.8))
    saved = model.stream(recording, seed=1)
    list(saved.events())
    write_state(folder / "kept.npz", saved.save())
    speakers = [
        model.load_voice(None, cfg_coef=2.0),
        model.load_voice(None),
        model.load_voice(recording),
        model.load_voice(folder / "kept.npz"),
    ]

    def given(job: int) -> list[Any]:
        return list("one two three four five"[job:])

    def alone(job: int) -> list[Event]:
        stream = model.stream(speakers[job % 4], seed=job)
        return [*stream.feed("".join(given(job))), *stream.flush()]

    def join(batch: Any, job: int) -> Any:
        return batch.join(model.task(speakers[job % 4], seed=job))

    return Case(lambda rows: model.batch(rows, guided=True), join, given, alone)


def translation(pcm: Array) -> Case:
    model = Hibiki.load(DEMO / "hibiki")

    def how(job: int) -> dict[str, Any]:
        return {"seed": job, "max_tail": 0.5 + job / 10}

    def given(job: int) -> list[Any]:
        return pieces(pcm[2000 * job : 2000 * job + 40_000], job)

    def alone(job: int) -> list[Event]:
        stream = model.stream(**how(job))
        return [*stream.feed(np.concatenate(given(job))), *stream.flush()]

    return Case(model.batch, lambda batch, job: batch.join(model.task(**how(job))), given, alone)


def talk(pcm: Array) -> Case:
    model = moshi(tokens(ONE, PLURAL, TWO))

    def given(job: int) -> list[Any]:
        return pieces(ramp(5 + job), job)

    def alone(job: int) -> list[Event]:
        stream = model.stream(text_temperature=1.0, seed=job)
        return [*stream.feed(np.concatenate(given(job))), *stream.flush()]

    return Case(
        model.batch,
        lambda batch, job: batch.join(model.task(text_temperature=1.0, seed=job)),
        given,
        alone,
    )


def pieces(pcm: Array, seed: int) -> list[Any]:
    cuts = np.random.default_rng(seed).integers(0, len(pcm), 6)
    return np.split(pcm, np.sort(cuts))


@pytest.fixture(params=["speech_to_text", "text_to_speech", "guided_speech", "translation", "talk"])
def case(request: pytest.FixtureRequest, pcm: Array, tmp_path: Path) -> Case:
    name: str = request.param
    made: Case = globals()[name](tmp_path if name == "guided_speech" else pcm)
    return made


def assert_same(found: Sequence[Event], expected: Sequence[Event], job: object) -> None:
    """The same events, sound to within rounding."""
    assert list(map(type, found)) == list(map(type, expected)), job
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in vars(theirs).items():
            mine = vars(ours)[name]
            if value is None or isinstance(value, str):
                assert mine == value, job
            else:
                np.testing.assert_allclose(mine, value, atol=1e-4, err_msg=str(job))


@dataclass
class Client:
    """Who feeds a row; a `fickle` one is reset in the middle."""

    job: int
    row: Any
    left: list[Any]
    fickle: bool = False
    ended: bool = False
    found: list[Event] = field(default_factory=list)

    def go_on(self, given: Callable[[int], list[Any]]) -> None:
        if self.left:
            self.row.feed(self.left.pop(0))
            if self.fickle and len(self.left) == 2:
                self.fickle, self.found, self.left = False, [], given(self.job)
                self.row.events()
                self.row.reset()
        elif not self.ended:
            self.ended = True
            self.row.end()


def test_rows_make_what_streams_alone_make(case: Case) -> None:
    """Whatever their neighbours do: some leave in the middle of it."""
    batch, chance = case.open(ROWS), np.random.default_rng(3)
    todo = list(range(case.jobs))
    expected = {job: case.alone(job) for job in todo}
    assert sum(map(len, expected.values())) > 50
    here: list[Client] = []
    moved = Counter[int]()
    while todo or here:
        if todo and batch.free and chance.random() < 0.3:
            job = todo.pop(0)
            here.append(Client(job, case.join(batch, job), case.given(job), fickle=job % 3 == 1))
        for client in here:
            if chance.random() < 0.3:
                client.go_on(case.given)
        held = [client.row for client in here if chance.random() < 0.2]
        places = {client.job: client.row.index for client in here}
        waiting = {client.job: client.row.waiting for client in here if client.row not in held}
        assert batch.step(held) == any(waiting.values())
        for client in list(here):
            moved[client.job] += client.row.index != places[client.job]
            client.found += client.row.events()
            if client.row.done:
                assert_same(client.found, expected[client.job], client.job)
                batch.leave(client.row)
                here.remove(client)
            elif client.job % 4 == 3 and len(client.found) > 3:
                batch.leave(client.row)
                here.remove(client)
    assert batch.free == ROWS
    assert moved.total() > 0


def test_a_stream_by_itself_costs_what_it_costs_alone(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: set[int] = set()
    run = Binding.run

    def noted(binding: Binding, turn: int) -> None:
        rows.add(binding._inputs["active"].shape[0])
        run(binding, turn)

    monkeypatch.setattr(Binding, "run", noted)
    batch = case.open(16)
    width = batch.generator.width

    def step(clients: Sequence[Client], times: int) -> None:
        rows.clear()
        for _ in range(times):
            for client in clients:
                client.go_on(case.given)
            batch.step()

    first, second, third = (Client(job, case.join(batch, job), case.given(job)) for job in range(3))
    step([first, second, third], 5)
    assert max(rows, default=1) <= 3 * width
    batch.leave(first.row)
    batch.leave(second.row)
    step([third], 5)
    assert max(rows, default=1) <= width


def test_a_row_is_one_of_so_many(case: Case) -> None:
    batch = case.open(2)
    first, second = case.join(batch, 0), case.join(batch, 1)
    with pytest.raises(UsageError, match="all 2 rows are taken"):
        case.join(batch, 2)
    assert (batch.rows, batch.free) == (2, 0)
    while batch.step():
        pass
    assert first.waiting == second.waiting == 0
    batch.leave(first)
    batch.leave(first)
    assert batch.free == 1
    with pytest.raises(UsageError, match="has left its batch"):
        first.reset()
    second.end()
    with pytest.raises(UsageError, match="has ended"):
        second.feed(case.given(0)[0])
    with pytest.raises(UsageError, match="a batch of 0 rows"):
        case.open(0)


def test_guidance_needs_a_batch_that_was_made_for_it(tmp_path: Path) -> None:
    model = TextToSpeech(speaking_bundle(tmp_path / "bundle", embeddings=False))
    batch, speaker = model.batch(1), model.load_voice(None, cfg_coef=2.0)
    with pytest.raises(UsageError, match="guided=True"):
        batch.join(model.task(speaker))
    assert batch.free == 1
    assert batch.join(model.task()).index == 0


def test_a_translation_in_a_batch_ends_as_it_does_alone() -> None:
    model = hibiki(ends_after(5))
    batch = model.batch(2)
    row = batch.join(model.task())
    row.feed(ramp(4))
    row.end()
    assert row.waiting == 4 + 1 + 379
    while batch.step():
        pass
    assert row.task.complete
    assert row.done
    assert row.waiting == 0
