"""The events of a stream of speech to text frame by frame, and without silence of its own."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import copy_demo, without_heads
from support.speech import RATE, Array

from kyutai_onnx.models import SpeechToText, Step, Word, WordStarted
from kyutai_onnx.models.batch import TokenTrace

SIZE = 1920


def test_every_frame_is_reported_with_what_each_head_says(model: SpeechToText, pcm: Array) -> None:
    recognized, row_found = TokenTrace(), TokenTrace()
    stream = model.stream(live=True, trace=recognized)
    events = [*stream.feed(pcm), *stream.flush()]
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.index for step in steps] == list(range(len(recognized.text)))
    pauses = np.array([step.pauses for step in steps])
    assert pauses.shape == (len(steps), model.language_model.spec.extra_heads)
    assert pauses.min() >= 0
    assert pauses.max() <= 1
    assert pauses[-1, 2] > 0.5 > pauses[len(pauses) // 3, 2]
    plain = model.stream(trace=row_found)
    others = [event for event in events if not isinstance(event, Step | WordStarted)]
    assert others == [*plain.feed(pcm), *plain.flush()]
    assert row_found.text == recognized.text


def test_a_word_is_reported_before_its_end_is(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream(live=True)
    found_at: dict[str, int] = {}
    early = 0
    found: list[Word | WordStarted] = []
    for start in range(0, len(pcm), SIZE):
        for event in stream.feed(pcm[start : start + SIZE]):
            if isinstance(event, WordStarted):
                found_at[event.text] = start
            elif isinstance(event, Word) and event.text in found_at:
                early += found_at[event.text] < start
            if isinstance(event, Word | WordStarted):
                found.append(event)
    found += [event for event in stream.flush() if isinstance(event, Word | WordStarted)]
    words = [event.text for event in found if isinstance(event, Word)]
    recognized = [event.text for event in found if isinstance(event, WordStarted)]
    assert " ".join(recognized) == " ".join(words)
    assert early > 2


def test_a_frame_is_reported_first_then_what_was_received_in_it(
    model: SpeechToText, pcm: Array
) -> None:
    order = [Step, WordStarted, Word]
    row_of = model.batch(1)
    row = row_of.join(model.task(live=True))
    row.feed(pcm)
    row.end()
    while row_of.step():
        kinds = [order.index(type(event)) for event in row.events() if type(event) in order]
        assert kinds[:1] in ([], [0])
        assert kinds == sorted(kinds) or row.done


def test_without_heads_a_step_has_no_pauses(tmp_path: Path) -> None:
    stream = SpeechToText.load(without_heads(tmp_path / "b")).stream(live=True)
    assert stream.feed(np.zeros(SIZE, np.float32)) == [Step(0, ())]


def test_steps_go_on_through_a_restart(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream(live=True)
    events = stream.feed(pcm)
    stream.task.restart()
    events += [*stream.events(), *stream.feed(pcm)]
    steps = [event.index for event in events if isinstance(event, Step)]
    assert steps == list(range(len(steps)))
    stream.reset()
    assert stream.feed(pcm[:SIZE])[0].index == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [1.0, 0.5])
def test_who_brings_silence_of_their_own_gets_none(
    seconds: float, model: SpeechToText, pcm: Array, tmp_path: Path
) -> None:
    """Times count from the first sample that is fed, less the model's delay."""

    def change(manifest: dict[str, dict[str, float]]) -> None:
        manifest["stt"]["audio_silence_prefix_seconds"] = seconds

    leading = SpeechToText.load(copy_demo(tmp_path / "b", change))
    bare, whole, plain = (
        [*stream.feed(pcm), *stream.flush()]
        for stream in (leading.stream(lead=False), leading.stream(), model.stream())
    )
    assert bare == plain
    silence = np.zeros(int(seconds * RATE), np.float32)
    own = leading.stream(lead=False)
    later = [*own.feed(np.concatenate([silence, pcm])), *own.flush()]
    ours = [event for event in whole if isinstance(event, Word)]
    theirs = [event for event in later if isinstance(event, Word)]
    assert [word.text for word in ours] == [word.text for word in theirs] != []
    for word, other in zip(ours, theirs, strict=True):
        assert other.start == pytest.approx(word.start + seconds)
