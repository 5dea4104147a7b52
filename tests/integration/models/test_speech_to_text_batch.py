"""Streams of speech to text side by side: each finds what it finds alone."""

import numpy as np
import pytest
from support.speech import Array

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.events import Event
from kyutai_onnx.runtime.errors import UsageError


def alone(model: SpeechToText, pcm: Array) -> list[Event]:
    stream = model.stream()
    return [*stream.feed(pcm), *stream.flush()]


@pytest.fixture(scope="module")
def recordings(pcm: Array) -> list[Array]:
    """Of several lengths and beginnings, one in silence and one without a sample."""
    silence = np.zeros(20_000, np.float32)
    cuts = [pcm, pcm[24_000:], pcm[: len(pcm) // 2], pcm[5_000:60_000], silence, silence[:0]]
    return [*cuts, np.concatenate([silence, pcm])]


@pytest.fixture(scope="module")
def expected(model: SpeechToText, recordings: list[Array]) -> list[list[Event]]:
    return [alone(model, recording) for recording in recordings]


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_recordings_together_are_transcribed_as_each_alone(
    rows: int, model: SpeechToText, recordings: list[Array], expected: list[list[Event]]
) -> None:
    assert sum(map(len, expected)) > 20
    assert list(model.together(iter(recordings), rows)) == expected


def test_no_recordings_are_no_events(model: SpeechToText) -> None:
    assert list(model.together([])) == []


def test_recordings_are_asked_for_as_rows_become_free(
    model: SpeechToText, recordings: list[Array]
) -> None:
    asked = []

    def coming() -> object:
        for index, recording in enumerate(recordings):
            asked.append(index)
            yield recording

    found = model.together(coming(), rows=2)  # type: ignore[arg-type]
    next(found)
    assert len(asked) < len(recordings)


def test_rows_join_and_leave_while_others_go_on(
    model: SpeechToText, pcm: Array, expected: list[list[Event]]
) -> None:
    batch = model.batch(2)
    first = batch.join(model.task())
    first.feed(pcm[:40_000])
    found: list[Event] = []
    for _ in range(7):
        batch.step()
    second = batch.join(model.task())
    assert batch.free == 0
    with pytest.raises(UsageError, match="all 2 rows are taken"):
        batch.join(model.task())
    second.feed(pcm[24_000:])
    for start in range(40_000, len(pcm), 3_000):
        batch.step()
        found += first.events()
        first.feed(pcm[start : start + 3_000])
    first.end()
    second.end()
    while batch.step():
        if first.done and batch.free == 0:
            found += first.events()
            batch.leave(first)
    assert found == expected[0]
    assert second.events() == expected[1]
    assert (first.events(), second.events()) == ([], [])


def test_a_row_that_is_taken_again_remembers_nothing(
    model: SpeechToText, recordings: list[Array], expected: list[list[Event]]
) -> None:
    batch = model.batch(1)
    interrupted = batch.join(model.task())
    interrupted.feed(recordings[0][:50_000])
    while batch.step():
        pass
    batch.leave(interrupted)
    row = batch.join(model.task())
    row.feed(recordings[1])
    row.end()
    while batch.step():
        pass
    assert row.events() == expected[1]
    batch.leave(interrupted)
    assert batch.free == 0


def test_nothing_is_fed_after_the_end(model: SpeechToText, pcm: Array) -> None:
    row = model.batch(1).join(model.task())
    row.end()
    row.end()
    with pytest.raises(UsageError, match="has ended"):
        row.feed(pcm)
