"""The live loop without a sound card: a clock and devices of the tests' own drive it through slow
work, overruns, underruns and devices that vanish. Nothing is lost uncounted."""

from dataclasses import replace

import numpy as np
import pytest
from support.soundcards import BLOCK_SECONDS, BOX, LATENCY, MIC, SIZE, Room
from support.speech import RATE, Array

from kyutai_onnx.runtime.audio.live.live_sound import (
    KEPT_SECONDS,
    PREBUFFER_SECONDS,
)

FRAME = SIZE / RATE
SAMPLE = 1 / RATE


def pieces(captured: Array) -> list[Array]:
    """What was heard, cut where samples are missing."""
    return np.split(captured, np.flatnonzero(np.diff(captured) != 1) + 1)


def missing(captured: Array) -> float:
    """Seconds that lack between what was heard."""
    return float(np.sum(np.diff(captured) - 1)) / RATE


def buzz(amplitude: float) -> Array:
    """Half a second."""
    return np.tile(np.array([amplitude, -amplitude], np.float32), RATE // 4)


def test_all_that_is_said_is_transcribed_in_order() -> None:
    room = Room()
    room.sound.open_microphone(None)
    captured = room.listen_for(10.0, lambda _: 0.05)
    np.testing.assert_array_equal(captured, np.arange(len(captured)))
    assert len(captured) / RATE == pytest.approx(10.0, abs=2 * BLOCK_SECONDS)
    assert room.sound.capture_buffer.dropped == 0
    assert room.sound.meter.real_time_factor == pytest.approx(0.05 / FRAME, rel=0.01)
    assert room.reported == []


def test_a_machine_that_is_too_slow_drops_the_oldest_and_says_so_once() -> None:
    room = Room()
    room.sound.open_microphone(None)
    captured = room.listen_for(20.0, lambda _: 2 * FRAME)
    inlet = room.sound.capture_buffer
    assert inlet.dropped > 5
    assert missing(captured) == pytest.approx(inlet.dropped, abs=SAMPLE)
    assert len(captured) / RATE + inlet.dropped == pytest.approx(inlet.received, abs=SAMPLE)
    assert np.all(np.diff(captured) > 0)
    (line,) = room.lines
    assert "real-time factor 2.0" in line


def test_no_more_waits_than_is_kept() -> None:
    room = Room()
    room.sound.open_microphone(None)
    waiting: list[float] = []
    room.clock.every(BLOCK_SECONDS, lambda: waiting.append(room.sound.capture_buffer.queued))
    room.listen_for(20.0, lambda _: 3 * FRAME)
    assert KEPT_SECONDS - 2 * BLOCK_SECONDS < max(waiting) <= KEPT_SECONDS + SAMPLE


def test_one_long_step_is_caught_up_with() -> None:
    room = Room()
    room.sound.open_microphone(None)
    steps = iter([0.0] * 30 + [1.5])
    captured = room.listen_for(10.0, lambda _: next(steps, 0.01))
    np.testing.assert_array_equal(captured, np.arange(len(captured)))
    lag = room.sound.meter.lag
    assert lag.greatest == pytest.approx(1.5 + LATENCY, abs=FRAME)
    assert lag.median == pytest.approx(0.01 + LATENCY, abs=0.02)


def test_when_stopped_all_that_had_come_is_transcribed() -> None:
    room = Room()
    room.sound.open_microphone(None)
    captured = room.listen_for(3.0, lambda now: 1.0 if 1 < now < 2 else 0.0)
    assert room.sound.capture_buffer.queued == 0
    assert len(captured) / RATE == pytest.approx(room.sound.capture_buffer.received, abs=SAMPLE)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_device_is_transcribed_at_the_rate_of_the_model(rate: int, channels: int) -> None:
    room = Room(replace(MIC, rate=rate, inputs=channels))
    room.sound.open_microphone(None)
    captured = room.listen_for(5.0)
    assert len(captured) / RATE == pytest.approx(room.sound.capture_buffer.received, abs=2 * SAMPLE)
    middle = slice(RATE, 4 * RATE)
    expected = np.arange(len(captured)) * rate / RATE
    np.testing.assert_allclose(captured[middle], expected[middle], rtol=1e-3)


def test_a_channel_can_be_picked() -> None:
    room = Room()
    room.sound.open_microphone(None, channel=1)
    stereo = np.stack([np.zeros(SIZE), np.ones(SIZE)], axis=1).astype(np.float32)
    room.card.unplug(MIC)
    room.sound.capture_buffer.put(stereo, RATE)
    room.sound.stop()
    (frame,) = room.sound.frames()
    np.testing.assert_array_equal(frame.pcm, 1)


def test_what_is_said_is_played_after_the_prebuffer() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    captured = room.listen_for(5.0, lambda _: 0.02, echo=True)
    room.sound.drain()
    sound = room.card.sound * 2**24
    start = int(np.flatnonzero(sound)[0]) - 1
    np.testing.assert_array_equal(sound[start : start + len(captured)], captured)
    assert room.sound.playback_buffer.underruns == 0
    assert room.sound.playback_buffer.played == pytest.approx(len(captured) / RATE, abs=SAMPLE)
    assert start / RATE == pytest.approx(PREBUFFER_SECONDS, abs=2 * BLOCK_SECONDS)


def test_running_dry_plays_silence_and_is_counted() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    captured = room.listen_for(8.0, lambda now: 0.6 if 3 < now < 3.1 else 0.01, echo=True)
    room.sound.drain()
    outlet = room.sound.playback_buffer
    assert outlet.underruns == 1
    assert outlet.dropped == 0
    assert len(captured) / RATE == pytest.approx(outlet.played, abs=SAMPLE)
    sound = room.card.sound
    np.testing.assert_array_equal(sound[sound != 0] * 2**24, captured[1:])


def test_what_comes_too_late_is_dropped_and_speech_is_prompt_again() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    outlet = room.sound.playback_buffer
    room.clock.at(2.0, lambda: outlet.put(np.ones(3 * RATE, np.float32), RATE))
    captured = room.listen_for(6.0, echo=True)
    room.sound.drain()
    assert outlet.dropped > 2.5
    assert outlet.played + outlet.dropped == pytest.approx(3 + len(captured) / RATE, abs=2 * SAMPLE)


def test_rest_is_no_underrun() -> None:
    room = Room()
    room.sound.open_output(None, wait=True)
    for _ in range(3):
        room.sound.play(np.ones(SIZE, np.float32))
        room.sound.flush()
        room.clock.work(2.0)
    assert np.count_nonzero(room.card.sound) == 3 * SIZE
    assert room.sound.playback_buffer.underruns == 0


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_speech_is_played_at_the_rate_of_the_speaker(rate: int) -> None:
    room = Room(replace(BOX, rate=rate, outputs=2))
    room.sound.open_output(None, wait=True)
    said = np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE).astype(np.float32)
    room.sound.play(said)
    room.sound.drain()
    blocks = np.concatenate([block for _, block in room.card.played])
    np.testing.assert_array_equal(blocks[:, 0], blocks[:, 1])
    wanted = np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)
    assert np.corrcoef(blocks[:rate, 0], wanted)[0, 1] > 0.999
    assert np.count_nonzero(blocks[:, 0]) / rate == pytest.approx(1.0, abs=0.01)


def test_half_duplex_records_silence_while_the_model_is_audible() -> None:
    room = Room()
    room.sound.open_microphone(None, half_duplex=True)
    room.sound.open_output(None)
    room.clock.at(3.0, lambda: room.sound.play(buzz(0.5)))
    captured = room.listen_for(8.0)
    silent = np.flatnonzero(captured[1:] == 0) + 1
    assert room.sound.muted == pytest.approx(len(silent) / RATE, abs=SAMPLE)
    assert room.sound.muted > 0.5
    assert silent[0] / RATE == pytest.approx(3.0, abs=2 * FRAME)
    assert silent[-1] / RATE == pytest.approx(3.5 + PREBUFFER_SECONDS + 0.25, abs=0.2)


@pytest.mark.parametrize("said", [buzz(1e-4), buzz(0.0) + 0.3], ids=["quiet", "off zero"])
def test_half_duplex_records_on_where_nothing_is_audible(said: Array) -> None:
    room = Room()
    room.sound.open_microphone(None, half_duplex=True)
    room.sound.open_output(None)
    room.clock.at(3.0, lambda: room.sound.play(said))
    assert np.all(room.listen_for(8.0)[1:] > 0)
    assert room.sound.muted == 0


def test_latency_counts_from_the_sound_to_what_it_became() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    room.clock.at(6.0, room.sound.stop)
    for frame in room.sound.frames():
        with room.sound.meter.working(FRAME, frame.arrived):
            room.clock.work(0.03)
            room.sound.play(frame.pcm / 2**24)
            room.sound.meter.note_word(room.sound.meter.audio - 0.5)
    meter = room.sound.meter
    assert meter.to_word.median == pytest.approx(0.5 + 0.03 + LATENCY, abs=FRAME)
    sound = room.card.sound * 2**24
    at = [now for now, block in room.card.played if (block * 2**24 == 3 * RATE).any()]
    assert len(at) == 1
    assert 3 * RATE in sound
    captured_after = at[0] - 3.0 + 2 * LATENCY
    assert meter.to_sound.median == pytest.approx(captured_after, abs=FRAME + BLOCK_SECONDS)


def test_text_is_timed_until_it_sounds() -> None:
    room = Room()
    room.sound.open_output(None, wait=True)
    room.clock.work(1.0)
    room.sound.meter.note_text()
    for _ in range(5):
        room.clock.work(0.03)
        room.sound.play(np.zeros(SIZE, np.float32))
    for _ in range(40):
        room.clock.work(0.03)
        room.sound.play(buzz(0.25)[:SIZE])
    room.sound.drain()
    loud = [now for now, block in room.card.played if np.abs(block).max() > 0.2]
    meter = room.sound.meter
    assert meter.text_to_sound.count == 1
    captured_after = loud[0] - 1.0 + LATENCY
    assert meter.text_to_sound.median == pytest.approx(captured_after, abs=2 * FRAME)
    assert meter.to_sound.count == 0


def test_what_is_said_after_the_end_answers_nothing() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    room.listen_for(3.0, echo=True)
    before = room.sound.meter.to_sound.count
    room.sound.wait_for_output()
    for _ in range(50):
        room.sound.play(buzz(0.25)[:SIZE])
    assert room.sound.meter.to_sound.count == before > 30
