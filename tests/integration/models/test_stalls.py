"""A stream that goes on for hours: a model that stalls is restarted, the last words of a turn come
at once, and the clock goes on through both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import without_heads
from support.speech import RATE, Array, hiss

from kyutai_onnx.models import Event, Pause, Restart, SpeechToText, TurnPolicy, Word
from kyutai_onnx.models.batch import Stream
from kyutai_onnx.models.stt.watchdog import Watchdog
from kyutai_onnx.runtime.errors import UsageError

SIZE = 1920
REST = 2.0


def words_of(events: list[Event]) -> list[Word]:
    return [event for event in events if isinstance(event, Word)]


def texts(words: list[Word]) -> list[str]:
    return [word.text for word in words]


@pytest.fixture(scope="module")
def rested(pcm: Array) -> Array:
    """The sentence, and rest."""
    return np.concatenate([pcm, hiss(REST)])


def check_again(found: list[Word], words: list[Word], later: float) -> None:
    """The words of the sentence, so many seconds later."""
    assert texts(found) == texts(words)
    for ours, first in zip(found, words, strict=True):
        assert ours.start == pytest.approx(first.start + later, abs=0.25)


@pytest.mark.parametrize("odd", [0, 1, 777])
def test_the_clock_goes_on_through_a_restart(
    model: SpeechToText, rested: Array, pcm: Array, words: list[Word], odd: int
) -> None:
    stream = model.stream()
    first = np.concatenate([rested, hiss(odd / RATE)])
    before = stream.feed(first) + restarted(stream)
    assert before[-1] == Restart(pytest.approx(len(first) / RATE))
    after = stream.feed(pcm) + stream.flush()
    check_again(words_of(before), words, 0.0)
    check_again(words_of(after), words, len(first) / RATE)
    times = [event.time for event in [*before, *after] if isinstance(event, Pause)]
    assert times == sorted(times)
    assert times[-1] > len(first) / RATE


def test_a_restart_gives_what_a_new_stream_gives(model: SpeechToText, pcm: Array) -> None:
    stream, new = model.stream(), model.stream()
    stream.feed(hiss(2 * SIZE / RATE))
    restarted(stream)
    ours, theirs = words_of(stream.feed(pcm)), words_of(new.feed(pcm))
    later = 2 * SIZE / RATE
    assert [(w.text, pytest.approx(w.start + later)) for w in theirs] == [
        (w.text, w.start) for w in ours
    ]


def test_a_restart_reports_the_word_that_was_open(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream()
    events: list[Event] = []
    for start in range(0, len(pcm), SIZE):
        events += stream.feed(pcm[start : start + SIZE])
        if stream.task.partial and words_of(events):
            break
    partial = stream.task.partial
    assert words_of(restarted(stream))[-1].text == partial.split()[-1]
    assert stream.task.partial == ""


def test_the_last_words_come_at_once(model: SpeechToText, pcm: Array, words: list[Word]) -> None:
    stream = model.stream()
    spoken = pcm[: round((words[-1].end + 0.3) * RATE)]
    early = words_of(stream.feed(spoken))
    assert len(early) < len(words)
    late = words_of(caught_up(stream))
    assert texts(early + late) == texts(words)
    rest = hiss(REST)
    more = words_of(stream.feed(rest) + stream.feed(pcm) + stream.flush())
    check_again(more, words, (len(spoken) + len(rest)) / RATE)


def test_catching_up_takes_no_time_off_the_audio(model: SpeechToText, rested: Array) -> None:
    stream = model.stream()
    stream.feed(rested)
    before = stream.task.processed_until
    assert [event for event in caught_up(stream) if isinstance(event, Pause)] == []
    assert stream.task.processed_until == pytest.approx(before)
    assert restarted(stream)[-1] == Restart(pytest.approx(len(rested) / RATE))


def test_audio_that_is_fed_after_catching_up_is_transcribed_as_ever(
    model: SpeechToText, rested: Array
) -> None:
    stream, other = model.stream(), model.stream()
    found = [*stream.feed(rested), *caught_up(stream), *stream.feed(rested), *stream.flush()]
    other.feed(rested)
    other.task.catch_up()
    other.task.catch_up()  # again takes no time either
    late = [*other.feed(rested), *other.flush()]
    assert words_of(late) == words_of(found)[-len(words_of(late)) :]
    assert len(words_of(late)) > 5


def test_a_stream_that_loads_forgets_what_it_had_found(model: SpeechToText, rested: Array) -> None:
    stream = model.stream()
    stream.feed(rested[: len(rested) // 2])
    saved = stream.save()
    stream.task.restart()
    stream.load(saved)
    assert list(stream.events()) == []


def stall(stream: Stream[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the model write nothing until it is restarted."""
    generator = stream._batch.generator
    step, begin = generator.step, generator.begin
    stalled = [True]

    def silent(*given: Any) -> Any:
        made = step(*given)
        if stalled[0]:
            made.frame[:, 0] = stream.model.language_model.spec.tokens.text_padding
        return made

    def again(*given: Any, **named: Any) -> None:
        stalled[0] = False
        begin(*given, **named)

    monkeypatch.setattr(generator, "step", silent)
    monkeypatch.setattr(generator, "begin", again)


def test_a_model_that_stalls_is_restarted(
    model: SpeechToText, rested: Array, words: list[Word], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model.stream(watchdog=3.0)
    stall(stream, monkeypatch)
    talk = np.tile(rested, 6)
    events = stream.feed(talk) + stream.flush()
    restarts = [event.time for event in events if isinstance(event, Restart)]
    assert len(restarts) == 1
    assert 3.0 < restarts[0] < len(talk) / RATE / 2
    found = words_of(events)
    sentence = len(rested) / RATE
    assert texts(found[-2 * len(words) :]) == texts(words) * 2
    check_again(found[-len(words) :], words, 5 * sentence)


def test_without_a_watchdog_it_stalls_on(
    model: SpeechToText, rested: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model.stream()
    stall(stream, monkeypatch)
    assert words_of(stream.feed(np.tile(rested, 3)) + stream.flush()) == []


def test_a_model_that_writes_is_left_alone(model: SpeechToText, rested: Array) -> None:
    talk = np.tile(rested, 4)
    watched, plain = model.stream(watchdog=3.0), model.stream()
    assert watched.feed(talk) + watched.flush() == plain.feed(talk) + plain.flush()


def watch(sound: Array, seconds: float = 4.0, *, wrote: bool = False) -> list[int]:
    """The frames at which a watchdog finds that the model has stalled."""
    dog = Watchdog(seconds, RATE / SIZE)
    frames = sound[: len(sound) // SIZE * SIZE].reshape(-1, SIZE)
    return [i for i, frame in enumerate(frames) if dog.stalled(frame, wrote=wrote)]


def test_speech_without_words_is_a_stall_and_patience_grows(rested: Array) -> None:
    found = watch(np.tile(rested, 30))
    gaps = np.diff([0, *found])
    assert len(found) >= 3
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], 2, rtol=0.35)


@pytest.mark.parametrize("loudness", [0.0, 1e-4, 0.1, 0.9])
def test_silence_and_steady_noise_are_none(loudness: float) -> None:
    noise = np.random.default_rng(0).standard_normal(120 * RATE).astype(np.float32)
    assert watch(np.float32(loudness) * noise) == []


def test_nor_is_speech_that_is_written(rested: Array) -> None:
    assert watch(np.tile(rested, 10), wrote=True) == []


def test_a_policy_for_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"extra head .* 2 s"):
        SpeechToText.load(without_heads(tmp_path / "b")).stream(policy=TurnPolicy())


def test_a_policy_changes_when_turns_end(model: SpeechToText, pcm: Array) -> None:
    talk = np.concatenate([pcm, hiss(4)])
    ends = {}
    for hold in (0.5, 2.0):
        stream = model.stream(policy=TurnPolicy(hold=hold))
        fed = 0
        for start in range(0, len(talk), SIZE):
            if any(
                type(e).__name__ == "EndOfTurn" for e in stream.feed(talk[start : start + SIZE])
            ):
                fed = start
                break
        ends[hold] = fed / RATE
    assert ends[2.0] - ends[0.5] == pytest.approx(1.5, abs=0.2)


def restarted(stream: Stream[Any]) -> list[Event]:
    stream.task.restart()
    return list(stream.events())


def caught_up(stream: Stream[Any]) -> list[Event]:
    stream.task.catch_up()
    return list(stream.events())
