"""A voice and a role before a conversation: what is read, saved and refused."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from support.scripted_models import (
    CARD,
    ONE,
    PADDING,
    SIZE,
    SPEC,
    TWO,
    Array,
    moshi,
    prompted,
    ramp,
)

from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.models.events import Event
from kyutai_onnx.models.options import ConversationOptions
from kyutai_onnx.models.speech_to_speech.model import SpeechResult
from kyutai_onnx.runtime.audio.loudness import loudness
from kyutai_onnx.runtime.errors import AudioError, UsageError

RATE = 24000
ROLE = "one two one"
INITIAL = SPEC.tokens.text_initial


def mixed(step: int, read: Array) -> int:
    """Text that depends on all that is read."""
    return ONE + (step + int(read.sum())) % 3


def result(events: list[Event]) -> tuple[str, list[float]]:
    gathered = SpeechResult()
    gathered.take(events)
    return gathered.text, gathered.pcm.tolist()


def voice(path: Path, pcm: Array) -> str:
    soundfile.write(path, pcm, RATE, subtype="FLOAT")
    return str(path)


def hum(seconds: float) -> Array:
    return 0.1 * np.sin(np.arange(int(seconds * RATE)) / 20).astype(np.float32)


def test_each_stream_reads_its_part_of_the_prompt_at_its_delay(tmp_path: Path) -> None:
    reads: list[list[int]] = []

    def script(step: int, read: Array) -> int:
        reads.append(read.tolist())
        return ONE

    recording = voice(tmp_path / "voice.wav", hum(3 * SIZE / RATE + 0.2))
    trace = TokenTrace()
    stream = prompted(script).stream(role=ROLE, voice_prompt=recording, trace=trace)
    assert result(list(stream.events())) == ("", [])
    frames = 5 + 1 + 3 + 1
    assert [read[0] for read in reads] == [INITIAL, *[PADDING] * 5, ONE, TWO, ONE, PADDING]
    assert [read[1] for read in reads] == [CARD, 1, 2, 3, 4, *[7] * 5]
    assert [read[2] for read in reads] == [CARD, CARD, 1, 2, 3, 4, *[8] * 4]
    assert [read[3] for read in reads] == [CARD, *[50] * 9]
    assert [read[4] for read in reads] == [CARD, CARD, *[51] * 8]
    stream.feed(ramp(3))
    assert [read[3:] for read in reads[frames:]] == [[1, 51], [2, 2], [3, 3]]
    assert [read[2] for read in reads[frames:]] == [8, frames + 2, frames + 3]
    assert np.array(trace.codes).tolist() == [[1, 2], [2, 3], [3, 4]]
    assert trace.text == [ONE] * 3


def test_without_a_prompt_the_first_frame_is_given_twice_as_ever() -> None:
    with_settings, plain = prompted(mixed), moshi(mixed)
    assert result(with_settings.stream().feed(ramp(9))) == result(plain.stream().feed(ramp(9)))
    given = with_settings.stream(role=ROLE).feed(ramp(9))
    assert result(given) != result(plain.stream().feed(ramp(9)))


def test_a_role_may_have_its_marks_already() -> None:
    model = prompted(mixed)
    marked = model.reply(ramp(9), role=f"<role> {ROLE} <role>")
    assert marked.pcm.tolist() == model.reply(ramp(9), role=f" {ROLE}\n").pcm.tolist()


def test_rows_have_prompts_of_their_own() -> None:
    model = prompted(mixed)
    roles = ["one", "two two two", None, "two one two one one"]
    batch = model.batch(len(roles))
    rows = [batch.join(model.task(role=role)) for role in roles]
    for row in rows:
        row.feed(ramp(9))
    while batch.step():
        pass
    for row, role in zip(rows, roles, strict=True):
        assert result(row.events()) == result(model.stream(role=role).feed(ramp(9)))


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 6, 9])
def test_a_stream_goes_on_from_any_step_of_its_prompt(steps: int) -> None:
    model = prompted(mixed)
    whole = result(model.stream(role=ROLE).feed(ramp(9)))
    batch = model.batch(3)
    row = batch.join(model.task(role=ROLE))
    row.feed(ramp(9))
    for _ in range(steps):
        batch.step()
    before = row.events()
    saved: dict[str, Any] = row.save()
    other, fork = batch.join(model.task(role="two")), row.fork()
    other.load(saved)
    while batch.step():
        pass
    assert [result([*before, *one.events()]) for one in (row, other, fork)] == [whole] * 3


def test_a_stream_that_is_reset_is_given_its_prompt_again() -> None:
    stream = prompted(mixed).stream(role=ROLE)
    first = result(stream.feed(ramp(5)))
    stream.reset()
    assert result(stream.feed(ramp(5))) == first


def test_a_stream_that_is_closed_steps_no_prompt() -> None:
    model = prompted(lambda *_: pytest.fail("stepped"))
    stream = model.stream(role=ROLE)
    assert stream.close() == []
    assert stream.task.done


@pytest.mark.parametrize("options", [{"role": ROLE}, {"voice_prompt": "voice.wav"}])
def test_a_model_that_takes_no_prompt_refuses_it(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))}.*scripted"):
        moshi(mixed).stream(**options)  # type: ignore[arg-type]


def test_an_empty_role_is_none() -> None:
    assert result(moshi(mixed).stream(role="").feed(ramp(5))) == result(
        moshi(mixed).stream().feed(ramp(5))
    )


def test_a_prompt_is_shorter_than_the_memory_of_the_model() -> None:
    with pytest.raises(UsageError, match=r"42 frames, 0 .* 40 of"):
        prompted(mixed).stream(role="one two " * 20)


@pytest.mark.parametrize("name", ["NATF0.pt", "voice.safetensors", "voice.NPZ"])
def test_a_voice_is_a_recording(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.*recording"):
        ConversationOptions(voice_prompt=name)


@pytest.mark.parametrize("pcm", [np.zeros(RATE, np.float32), hum(0.3)], ids=["silent", "short"])
def test_a_voice_has_to_be_heard(pcm: Array, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"voice\.wav: silent"):
        prompted(mixed).stream(voice_prompt=voice(tmp_path / "voice.wav", pcm))


@pytest.mark.parametrize("frames", [30, 100])
def test_a_voice_longer_than_the_memory_is_refused_before_it_is_encoded(
    frames: int, tmp_path: Path
) -> None:
    model = prompted(mixed)
    model.mimi = Mock(side_effect=AssertionError)
    with pytest.raises(UsageError, match=r"voice\.wav: a voice of 2\.4 s"):
        model.stream(voice_prompt=voice(tmp_path / "voice.wav", hum(frames * SIZE / RATE)))


def test_a_voice_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav"):
        prompted(mixed).stream(voice_prompt=str(tmp_path / "none.wav"))


@pytest.mark.parametrize(("rate", "expected"), [(44100, -3.0457334692), (24000, -3.0568241768)])
def test_the_loudness_of_a_sine_is_what_pyloudnorm_measures(rate: int, expected: float) -> None:
    """The figures are those of pyloudnorm for the same samples."""
    pcm = np.sin(2 * np.pi * 1000 * np.arange(10 * rate) / rate)
    assert loudness(pcm, rate) == pytest.approx(expected, abs=1e-8)
    assert loudness(pcm / 10, rate) == pytest.approx(loudness(pcm, rate) - 20, abs=1e-9)


def test_pauses_do_not_count_towards_loudness() -> None:
    pcm = hum(4.0)
    paused = np.concatenate([pcm, np.zeros(6 * RATE, np.float32), pcm])
    assert loudness(paused, RATE) == pytest.approx(loudness(pcm, RATE), abs=0.3)
