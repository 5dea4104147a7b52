"""Pauses: one for each silence after speech, however the head flickers and the text lags."""

import numpy as np
import pytest

from kyutai_onnx.models import EndOfTurn, Event, Pause, SpeechStarted, TurnPolicy
from kyutai_onnx.models.options import HORIZONS
from kyutai_onnx.models.stt.pauses import BACK_SECONDS, PauseDetector
from kyutai_onnx.runtime.errors import UsageError

RATE = 12.5
SPEECH, SILENCE = 0.1, 0.9


def detected(
    detector: PauseDetector, probabilities: list[float], word_start: float | None = None
) -> list[Event]:
    """What a detector reports, but for the beginnings of speech."""
    events = reported(detector, probabilities, word_start)
    return [event for event in events if not isinstance(event, SpeechStarted)]


def reported(
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
    assert detected(pauses, silent(100)) == []
    assert pauses.flush() == []


def test_a_pause_is_reported_once_when_the_head_rises() -> None:
    assert detected(detector(), spoken(25) + silent(10)) == [
        Pause(pytest.approx(26 / RATE), SILENCE)
    ]


def test_a_half_is_not_yet_a_pause() -> None:
    assert detected(detector(), [*spoken(25), 0.5, 0.5]) == []
    assert len(detected(detector(), [*spoken(25), 0.5001])) == 1


def test_every_silence_has_its_pause() -> None:
    events = detected(detector(), (spoken(10) + silent(10)) * 3)
    assert events == [Pause(pytest.approx(frame / RATE), SILENCE) for frame in (11, 31, 51)]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_short_flicker_is_not_new_speech(frames: int) -> None:
    events = detected(detector(), spoken(10) + silent(3) + spoken(frames) + silent(3))
    assert events == [Pause(pytest.approx(11 / RATE), SILENCE)]


def test_a_quarter_of_a_second_is_new_speech() -> None:
    events = detected(detector(), spoken(10) + silent(3) + spoken(4) + silent(3))
    assert events == [Pause(pytest.approx(frame / RATE), SILENCE) for frame in (11, 18)]


def test_a_word_is_speech_however_short() -> None:
    pauses = detector()
    assert detected(pauses, [SPEECH], word_start=0.05) == []
    assert detected(pauses, [SILENCE], word_start=0.05) == [Pause(pytest.approx(2 / RATE), SILENCE)]


def test_text_that_comes_after_the_pause_it_preceded_reports_no_second_one() -> None:
    pauses = detector()
    assert len(detected(pauses, spoken(25) + silent(3))) == 1
    assert detected(pauses, silent(8), word_start=1.9) == []


def test_a_word_after_the_pause_arms_for_the_next() -> None:
    pauses = detector()
    assert len(detected(pauses, spoken(25) + silent(3))) == 1
    assert detected(pauses, spoken(2), word_start=2.2) == []
    assert detected(pauses, silent(5), word_start=2.2) == [Pause(pytest.approx(31 / RATE), SILENCE)]


def test_a_pause_that_lasts_a_second_ends_the_turn_once() -> None:
    pauses = detector()
    start = pytest.approx(26 / RATE)
    assert detected(pauses, spoken(25) + silent(12)) == [Pause(start, SILENCE)]
    assert detected(pauses, silent(2)) == [EndOfTurn(start)]
    assert detected(pauses, silent(200)) == []
    assert pauses.flush() == []


def test_speech_within_a_second_goes_on_with_the_turn() -> None:
    pauses = detector()
    events = detected(pauses, spoken(25) + silent(6) + spoken(30))
    assert events == [Pause(pytest.approx(26 / RATE), SILENCE)]
    assert pauses.flush() == []


def test_a_turn_after_an_ended_turn_ends_too() -> None:
    events = detected(detector(), (spoken(25) + silent(25)) * 2)
    first, second = pytest.approx(26 / RATE), pytest.approx(76 / RATE)
    assert events == [
        Pause(first, SILENCE),
        EndOfTurn(first),
        Pause(second, SILENCE),
        EndOfTurn(second),
    ]


def test_the_end_of_the_audio_ends_a_turn_that_had_paused() -> None:
    pauses = detector()
    detected(pauses, spoken(25) + silent(3))
    assert pauses.flush() == [EndOfTurn(pytest.approx(26 / RATE))]
    assert pauses.flush() == []


def test_times_count_from_the_audio_and_nothing_is_reported_before_it() -> None:
    pauses = detector(lead=1.0)
    assert detected(pauses, (spoken(5) + silent(1)) * 2) == []
    assert detected(pauses, spoken(10) + silent(1)) == [
        Pause(pytest.approx(23 / RATE - 1), SILENCE)
    ]


def test_pauses_of_a_prompt_are_left_out() -> None:
    pauses = detector()
    pauses.skip(4.0)
    assert detected(pauses, spoken(25) + silent(24)) == []
    assert detected(pauses, spoken(25) + silent(1)) == [
        Pause(pytest.approx(75 / RATE - 4), SILENCE)
    ]


@pytest.mark.parametrize("cut", range(0, 200, 23))
def test_saved_and_loaded_pauses_go_on(cut: int) -> None:
    noise = np.random.default_rng(cut)
    probabilities = [float(p) for p in np.repeat(noise.random(40), 5)]
    whole, first, second = detector(), detector(), detector()
    found = detected(first, probabilities[:cut])
    second.load(first.save())
    found += [*detected(second, probabilities[cut:]), *second.flush()]
    expected = [*detected(whole, probabilities), *whole.flush()]
    assert found == expected
    assert any(isinstance(event, EndOfTurn) for event in expected)


def by(**policy: float) -> PauseDetector:
    return PauseDetector(RATE, 0.0, TurnPolicy(**policy))  # type: ignore[arg-type]


def test_speech_is_reported_when_it_begins_and_after_each_pause() -> None:
    events = reported(detector(), (spoken(10) + silent(10)) * 2)
    assert events == [
        SpeechStarted(pytest.approx(4 / RATE - BACK_SECONDS)),
        Pause(pytest.approx(11 / RATE), SILENCE),
        SpeechStarted(pytest.approx(24 / RATE - BACK_SECONDS)),
        Pause(pytest.approx(31 / RATE), SILENCE),
    ]


def test_a_word_reports_when_speech_began() -> None:
    events = reported(detector(), [SPEECH], word_start=0.03)
    assert events == [SpeechStarted(0.03)]


def test_the_threshold_moves_the_pause() -> None:
    rising = [*spoken(10), 0.3, 0.5, 0.7, 0.9]
    frames = {
        threshold: round(detected(by(threshold=threshold), rising)[0].time * RATE)  # type: ignore[union-attr]
        for threshold in (0.2, 0.4, 0.6, 0.8)
    }
    assert frames == {0.2: 11, 0.4: 12, 0.6: 13, 0.8: 14}


def test_hysteresis_keeps_a_wavering_head_from_telling_pause_after_pause() -> None:
    wavering = spoken(10) + ([0.9] * 5 + [0.4] * 5) * 6
    assert len([e for e in detected(by(), wavering) if isinstance(e, Pause)]) == 6
    assert len([e for e in detected(by(hysteresis=0.2), wavering) if isinstance(e, Pause)]) == 1


@pytest.mark.parametrize("hold", [0.0, 0.4, 2.0])
def test_a_turn_ends_when_its_pause_was_held(hold: float) -> None:
    patient = by(hold=hold)
    detected(patient, spoken(10) + silent(1))
    frames = next(i for i in range(1, 100) if detected(patient, silent(1)))
    assert frames / RATE == pytest.approx(max(hold, 1 / RATE), abs=0.5 / RATE)


def test_a_turn_without_words_enough_does_not_end() -> None:
    patient = by(min_words=2)
    detected(patient, spoken(5), word_start=0.1)
    assert [type(e) for e in detected(patient, silent(30), word_start=0.1)] == [Pause]
    detected(patient, spoken(5), word_start=3.0)
    assert [type(e) for e in detected(patient, silent(30), word_start=3.0)] == [Pause, EndOfTurn]
    detected(patient, spoken(5), word_start=6.0)
    assert [type(e) for e in detected(patient, silent(30), word_start=6.0)] == [Pause]
    assert patient.flush() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 1.5},
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"threshold": float("nan")},
        {"hysteresis": -0.1},
        {"hysteresis": 0.5},
        {"min_words": -1},
        {"hold": -1.0},
        {"hold": float("nan")},
    ],
)
def test_a_policy_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TurnPolicy(**wrong)  # type: ignore[arg-type]


def test_every_head_has_its_horizon() -> None:
    assert [TurnPolicy(horizon=seconds).head for seconds in HORIZONS] == [0, 1, 2, 3]
