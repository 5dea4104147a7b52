"""Hibiki and Moshi around their weights: framing, the end of the audio, saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scripted_models import (
    CARD,
    END,
    ONE,
    PADDING,
    PLURAL,
    SIZE,
    TWO,
    Array,
    ends_after,
    hibiki,
    moshi,
    ramp,
    tokens,
)

from kyutai_onnx.models import Audio, Event, Text, Word
from kyutai_onnx.models.batch import Stream, TokenTrace
from kyutai_onnx.models.speech_to_speech.model import SpeechResult
from kyutai_onnx.runtime.errors import AudioError, UsageError
from kyutai_onnx.runtime.state_file import read_state, write_state


def said(events: list[Event]) -> tuple[str, list[Word], Array]:
    gathered = SpeechResult()
    gathered.take(events)
    return gathered.text, gathered.words, gathered.pcm


def test_the_first_frame_is_given_twice_and_reported_once() -> None:
    trace = TokenTrace()
    reads: list[Array] = []

    def script(step: int, read: Array) -> int:
        reads.append(read)
        return ONE

    events = moshi(script).stream(trace=trace).feed(ramp(3))
    assert np.array(trace.codes).tolist() == [[1, 2], [2, 3], [3, 4]]
    assert [read[3].item() for read in reads] == [CARD, 1, 2, 3]
    assert len([event for event in events if isinstance(event, Audio)]) == 3
    assert trace.text == [ONE] * 3
    assert np.array(trace.audio).tolist() == [[1, 3], [2, 4], [3, 5]]


def test_frames_that_are_not_whole_wait_and_are_dropped_at_the_end() -> None:
    stream = moshi(tokens(ONE, TWO)).stream()
    assert stream.feed(ramp(1)[:-1]) == []
    assert len(stream.feed(ramp(1)[:1])) == 2
    stream.feed(ramp(1)[:100])
    assert said(stream.flush())[2].size == 0


def test_moshi_ends_with_the_audio() -> None:
    reply = moshi(tokens(ONE, PLURAL, TWO)).reply(ramp(3))
    assert reply.text == "ones two"
    assert [word.text for word in reply.words] == ["ones", "two"]
    assert len(reply.pcm) == 3 * SIZE


@pytest.mark.parametrize("size", [1, 700, SIZE, 5000])
def test_pieces_of_any_size_make_the_same(size: int) -> None:
    model = moshi(tokens(ONE, PLURAL, PADDING, TWO))
    pcm = ramp(6)
    stream = model.stream()
    events = [e for i in range(0, len(pcm), size) for e in stream.feed(pcm[i : i + size])]
    text, words, made = said([*events, *stream.flush()])
    whole = model.reply(pcm)
    assert (text, tuple(words)) == (whole.text, whole.words)
    np.testing.assert_array_equal(made, whole.pcm)


def test_hibiki_speaks_on_until_its_text_ends() -> None:
    trace = TokenTrace()
    stream = hibiki(ends_after(5)).stream(trace=trace)
    stream.feed(np.concatenate([ramp(4), ramp(1)[:700]]))
    stream.flush()
    assert stream.task.complete
    recognized = np.array(trace.codes)
    assert recognized[:5].tolist() == [[1, 2], [2, 3], [3, 4], [4, 5], [CARD, CARD]]
    assert recognized[5:].tolist() == [[0, 1]] * (len(recognized) - 5)
    assert trace.text[-1] == END
    assert trace.text.count(END) == 1


def test_an_end_before_the_end_of_the_audio_is_none() -> None:
    ends = ends_after(2)
    model = hibiki(lambda step, read: END if step == 2 else ends(step, read))
    trace = TokenTrace()
    stream = model.stream(trace=trace)
    stream.feed(ramp(9))
    assert not stream.task.complete
    stream.flush()
    assert stream.task.complete
    assert trace.text[2] == trace.text[-1] == END
    assert len(trace.text) > 9


@pytest.mark.parametrize(
    ("max_tail", "frames"), [(None, 10 + 1 + 375 + 10), (0.0, 10 + 1), (1.0, 10 + 1 + 13)]
)
def test_a_model_that_never_ends_is_cut(max_tail: float | None, frames: int) -> None:
    translation = hibiki(tokens()).translate(ramp(10), max_tail=max_tail)
    assert not translation.complete
    assert len(translation.pcm) == frames * SIZE


def test_a_recording_without_a_frame_is_refused() -> None:
    for run in (hibiki(tokens()).translate, moshi(tokens()).reply):
        with pytest.raises(AudioError, match="80 ms"):
            run(ramp(1)[1:])


def test_nothing_is_fed_after_the_end() -> None:
    stream = moshi(tokens(ONE)).stream()
    stream.feed(ramp(1))
    stream.flush()
    with pytest.raises(UsageError, match="has ended"):
        stream.feed(ramp(1))
    stream.reset()
    assert said(stream.feed(ramp(1)))[0] == "one"


def test_guidance_needs_a_description() -> None:
    with pytest.raises(UsageError, match="description"):
        hibiki(tokens()).stream(cfg_coef=3.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_values_out_of_range_are_refused(value: float) -> None:
    model = hibiki(tokens())
    for name in ("temperature", "text_temperature", "max_tail"):
        with pytest.raises(UsageError, match=str(value)):
            model.stream(**{name: value})


@pytest.mark.parametrize("name", ["top_k", "text_top_k"])
def test_a_number_of_candidates_is_none_or_more(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} -1"):
        moshi(tokens()).stream(**{name: -1})


def test_one_candidate_is_the_likeliest() -> None:
    def said(**draws: float) -> str:
        return moshi(tokens()).reply(ramp(40), **draws).text

    assert (
        said(text_temperature=1.0, text_top_k=1)
        == said(text_temperature=0.0)
        != said(text_temperature=1.0, seed=1)
    )


def test_a_seed_is_made_up_where_none_is_given() -> None:
    model = moshi(tokens())
    assert model.stream(seed=7).task.seed == 7
    assert model.stream().task.seed != model.stream().task.seed
    assert model.reply(ramp(1), seed=3).seed == 3


def test_a_sampled_stream_repeats_by_its_seed() -> None:
    def replies(seed: int) -> str:
        return moshi(tokens()).reply(ramp(40), text_temperature=1.0, seed=seed).text

    assert replies(1) == replies(1)
    assert replies(1) != replies(2)


def text_after(stream: Stream[Any], frames: int = 30) -> list[str]:
    events = [*stream.feed(ramp(frames)), *stream.flush()]
    return [event.text for event in events if isinstance(event, Text | Word)]


def test_a_saved_stream_goes_on_as_if_nothing_had_been() -> None:
    model = moshi(tokens())
    first = model.stream(text_temperature=1.0, seed=5)
    first.feed(np.concatenate([ramp(9), ramp(1)[:700]]))
    saved, forked = first.save(), first.fork()
    second = model.stream()
    second.load(saved)
    assert second.task.seed == forked.task.seed == 5
    expected = text_after(first)
    assert text_after(second) == text_after(forked) == expected
    third = model.stream()
    third.load(saved, seed=6)
    assert third.task.seed == 6
    assert text_after(third) != expected


def test_a_saved_stream_is_one_of_its_family() -> None:
    with pytest.raises(UsageError, match="saved moshi stream, "):
        hibiki(tokens()).stream().load(moshi(tokens()).stream().save())


def test_a_tail_goes_on_where_it_was_saved() -> None:
    model = hibiki(tokens(*[PADDING] * 20, ONE, *[PADDING] * 10, END))
    whole = model.translate(ramp(8))
    first = model.stream()
    events = first.feed(ramp(8))
    first.end()
    tail = first.events()
    events += [next(tail) for _ in range(5)]
    second = model.stream()
    second.load(first.save())
    events += second.flush()
    assert second.task.complete
    text, words, pcm = said(events)
    assert (text, tuple(words)) == (whole.text, whole.words)
    np.testing.assert_array_equal(pcm, whole.pcm)


def test_a_saved_stream_fits_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    model = hibiki(ends_after(3))
    stream = model.stream(seed=4)
    stream.feed(ramp(5)[:-500])
    write_state(path, stream.save())
    other = model.stream()
    other.load(read_state(path))
    assert other.task.received_seconds == stream.task.received_seconds == 4 / 12.5
    assert said(other.feed(ramp(1)))[2].size == SIZE
