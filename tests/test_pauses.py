"""Pauses: one for each silence after speech, however the head flickers and the text lags."""

import numpy as np
import pytest

from kyutai_onnx.models import EndOfTurn, Event, Pause
from kyutai_onnx.models.pauses import PauseDetector

RATE = 12.5
SPEECH, SILENCE = 0.1, 0.9


def hear(
    detector: PauseDetector, probabilities: list[float], word_start: float | None = None
) -> list[Event]:
    return [event for p in probabilities for event in detector.push(p, word_start)]


def spoken(frames: int) -> list[float]:
    return [SPEECH] * frames


def silent(frames: int) -> list[float]:
    return [SILENCE] * frames


def detector(lead: float = 0.0) -> PauseDetector:
    return PauseDetector(RATE, lead)


def test_silence_before_any_speech_is_no_pause() -> None:
    pauses = detector()
    assert hear(pauses, silent(100)) == []
    assert pauses.flush() == []


def test_a_pause_is_told_once_when_the_head_rises() -> None:
    assert hear(detector(), spoken(25) + silent(10)) == [Pause(pytest.approx(26 / RATE), SILENCE)]


def test_a_half_is_not_yet_a_pause() -> None:
    assert hear(detector(), [*spoken(25), 0.5, 0.5]) == []
    assert len(hear(detector(), [*spoken(25), 0.5001])) == 1


def test_every_silence_has_its_pause() -> None:
    events = hear(detector(), (spoken(10) + silent(10)) * 3)
    assert events == [Pause(pytest.approx(frame / RATE), SILENCE) for frame in (11, 31, 51)]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_short_flicker_is_not_new_speech(frames: int) -> None:
    events = hear(detector(), spoken(10) + silent(3) + spoken(frames) + silent(3))
    assert events == [Pause(pytest.approx(11 / RATE), SILENCE)]


def test_a_quarter_of_a_second_is_new_speech() -> None:
    events = hear(detector(), spoken(10) + silent(3) + spoken(4) + silent(3))
    assert events == [Pause(pytest.approx(frame / RATE), SILENCE) for frame in (11, 18)]


def test_a_word_is_speech_however_short() -> None:
    pauses = detector()
    assert hear(pauses, [SPEECH], word_start=0.05) == []
    assert hear(pauses, [SILENCE], word_start=0.05) == [Pause(pytest.approx(2 / RATE), SILENCE)]


def test_text_that_comes_after_the_pause_it_preceded_tells_no_second_one() -> None:
    pauses = detector()
    assert len(hear(pauses, spoken(25) + silent(3))) == 1
    assert hear(pauses, silent(8), word_start=1.9) == []


def test_a_word_after_the_pause_arms_for_the_next() -> None:
    pauses = detector()
    assert len(hear(pauses, spoken(25) + silent(3))) == 1
    assert hear(pauses, spoken(2), word_start=2.2) == []
    assert hear(pauses, silent(5), word_start=2.2) == [Pause(pytest.approx(31 / RATE), SILENCE)]


def test_a_pause_that_lasts_a_second_ends_the_turn_once() -> None:
    pauses = detector()
    start = pytest.approx(26 / RATE)
    assert hear(pauses, spoken(25) + silent(12)) == [Pause(start, SILENCE)]
    assert hear(pauses, silent(2)) == [EndOfTurn(start)]
    assert hear(pauses, silent(200)) == []
    assert pauses.flush() == []


def test_speech_within_a_second_goes_on_with_the_turn() -> None:
    pauses = detector()
    events = hear(pauses, spoken(25) + silent(6) + spoken(30))
    assert events == [Pause(pytest.approx(26 / RATE), SILENCE)]
    assert pauses.flush() == []


def test_a_turn_after_an_ended_turn_ends_too() -> None:
    events = hear(detector(), (spoken(25) + silent(25)) * 2)
    first, second = pytest.approx(26 / RATE), pytest.approx(76 / RATE)
    assert events == [
        Pause(first, SILENCE),
        EndOfTurn(first),
        Pause(second, SILENCE),
        EndOfTurn(second),
    ]


def test_the_end_of_the_audio_ends_a_turn_that_had_paused() -> None:
    pauses = detector()
    hear(pauses, spoken(25) + silent(3))
    assert pauses.flush() == [EndOfTurn(pytest.approx(26 / RATE))]
    assert pauses.flush() == []


def test_times_count_from_the_audio_and_nothing_is_told_before_it() -> None:
    pauses = detector(lead=1.0)
    assert hear(pauses, (spoken(5) + silent(1)) * 2) == []
    assert hear(pauses, spoken(10) + silent(1)) == [Pause(pytest.approx(23 / RATE - 1), SILENCE)]


def test_pauses_of_a_prompt_are_left_out() -> None:
    pauses = detector()
    pauses.skip(4.0)
    assert hear(pauses, spoken(25) + silent(24)) == []
    assert hear(pauses, spoken(25) + silent(1)) == [Pause(pytest.approx(75 / RATE - 4), SILENCE)]


@pytest.mark.parametrize("cut", range(0, 200, 23))
def test_saved_and_loaded_pauses_go_on(cut: int) -> None:
    noise = np.random.default_rng(cut)
    probabilities = [float(p) for p in np.repeat(noise.random(40), 5)]
    whole, first, second = detector(), detector(), detector()
    found = hear(first, probabilities[:cut])
    second.load(first.save())
    found += [*hear(second, probabilities[cut:]), *second.flush()]
    expected = [*hear(whole, probabilities), *whole.flush()]
    assert found == expected
    assert any(isinstance(event, EndOfTurn) for event in expected)
