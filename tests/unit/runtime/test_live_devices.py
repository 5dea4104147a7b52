"""Devices that vanish from under the live loop and come back, without hardware or time."""

from dataclasses import replace

import numpy as np
import pytest
from support.soundcards import BLOCK_SECONDS, BOX, MIC, SIZE, FakeCard, FakeClock, Room
from support.speech import RATE, Array

from kyutai_onnx.runtime.audio.live.devices import Device
from kyutai_onnx.runtime.audio.live.live_sound import AHEAD_SECONDS, GONE_SECONDS, LiveSound
from kyutai_onnx.runtime.errors import AudioError

FRAME = SIZE / RATE
SAMPLE = 1 / RATE


def pieces(captured: Array) -> list[Array]:
    """What was heard, cut where samples are missing."""
    return np.split(captured, np.flatnonzero(np.diff(captured) != 1) + 1)


def missing(captured: Array) -> float:
    """Seconds that lack between what was heard."""
    return float(np.sum(np.diff(captured) - 1)) / RATE


@pytest.mark.parametrize("dead", [False, True], ids=["ends", "falls silent"])
def test_a_microphone_that_vanishes_is_waited_for(dead: bool) -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.clock.at(3.0, lambda: room.card.unplug(MIC, dead=dead))
    room.clock.at(9.0, lambda: room.card.plug(MIC))
    captured = room.listen_for(15.0)
    before, after = pieces(captured)
    assert len(before) / RATE == pytest.approx(3.0, abs=2 * BLOCK_SECONDS)
    assert after[0] / RATE == pytest.approx(9.0, abs=2.0)
    port = room.sound.microphone
    assert port is not None
    assert port.losses == 1
    assert missing(captured) == pytest.approx(port.away, abs=2 * BLOCK_SECONDS)
    (gone, first), (back, second) = room.reported
    assert "Desk Microphone has gone" in first
    assert second.endswith("Desk Microphone is back")
    assert gone == pytest.approx(3.0 + GONE_SECONDS * dead, abs=0.4)
    assert back == pytest.approx(9.0, abs=1.4)


def test_another_number_and_rate_is_no_other_microphone() -> None:
    room = Room(MIC, BOX)
    room.sound.open_microphone("0")
    other = Device(0, "Camera", "ALSA", 2, 0, 44100, ("input",))
    moved = replace(MIC, index=3, rate=48000)
    room.clock.at(3.0, lambda: room.card.unplug(MIC))
    room.clock.at(4.0, lambda: room.card.plug(other))
    room.clock.at(6.0, lambda: room.card.plug(moved))
    room.listen_for(10.0)
    port = room.sound.microphone
    assert port is not None
    assert port.device == moved
    assert port.away == pytest.approx(3.0, abs=1.4)


def test_without_a_wish_the_next_default_is_taken() -> None:
    room = Room(MIC)
    room.sound.open_microphone(None)
    builtin = Device(5, "Built-in", "ALSA", 1, 0, RATE, ("input",))
    room.clock.at(2.0, lambda: room.card.unplug(MIC))
    room.clock.at(2.0, lambda: room.card.plug(builtin))
    room.listen_for(5.0)
    assert room.lines[-1].endswith("microphone Built-in is back")


def test_a_speaker_that_vanishes_costs_only_what_it_would_have_played() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    room.clock.at(3.0, lambda: room.card.unplug(BOX))
    room.clock.at(5.0, lambda: room.card.plug(BOX))
    captured = room.listen_for(12.0, echo=True)
    room.sound.drain()
    outlet, port = room.sound.playback_buffer, room.sound.output_device
    assert port is not None
    assert port.losses == 1
    assert outlet.played + outlet.dropped == pytest.approx(len(captured) / RATE, abs=2 * SAMPLE)
    assert outlet.dropped == pytest.approx(port.away, abs=0.5)
    gone, back = room.lines
    assert "Loud Box has gone" in gone
    assert back.endswith("Loud Box is back")


def test_speech_that_is_made_quickly_waits_for_its_speaker() -> None:
    room = Room()
    room.sound.open_output(None, wait=True)
    room.clock.at(2.0, lambda: room.card.unplug(BOX))
    room.clock.at(6.0, lambda: room.card.plug(BOX))
    said = np.random.default_rng(0).uniform(0.1, 1, 5 * RATE).astype(np.float32)
    queued = []
    for start in range(0, len(said), SIZE):
        room.sound.play(said[start : start + SIZE])
        queued.append(room.sound.playback_buffer.queued)
    room.sound.drain()
    sound = room.card.sound
    np.testing.assert_array_equal(sound[sound != 0], said)
    assert room.sound.playback_buffer.dropped == 0
    assert max(queued) <= AHEAD_SECONDS + SAMPLE
    assert room.clock.now() > 5 + 3


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_uncounted_whatever_happens(seed: int) -> None:
    noise = np.random.default_rng(seed)
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    for device in (MIC, BOX):
        time = 0.0
        while (time := time + float(noise.uniform(2, 15))) < 50:
            dead = bool(noise.integers(2))
            room.clock.at(time, lambda d=device, x=dead: room.card.unplug(d, dead=x))  # type: ignore[misc]
            time += float(noise.uniform(0.1, 6))
            room.clock.at(time, lambda d=device: room.card.plug(d))  # type: ignore[misc]
    load = float(noise.uniform(0.2, 1.3))
    captured = room.listen_for(60.0, lambda _: float(noise.exponential(load * FRAME)), echo=True)
    room.sound.drain()
    inlet, outlet, port = (
        room.sound.capture_buffer,
        room.sound.playback_buffer,
        room.sound.microphone,
    )
    assert port is not None
    assert np.all(np.diff(captured) > 0)
    assert len(captured) / RATE + inlet.dropped == pytest.approx(inlet.received, abs=SAMPLE)
    blocks = 3 * BLOCK_SECONDS * (port.losses + room.sound.output_device.losses + 1)  # type: ignore[union-attr]
    assert missing(captured) - inlet.dropped == pytest.approx(port.away, abs=blocks)
    assert outlet.played + outlet.dropped == pytest.approx(len(captured) / RATE, abs=SAMPLE)


def test_a_machine_without_devices_gets_a_message() -> None:
    clock = FakeClock()
    sound = LiveSound(FakeCard(clock, BOX), clock, RATE, SIZE)
    with pytest.raises(AudioError, match=r"no microphone .* 1 Loud Box"):
        sound.open_microphone(None)


def test_closing_stops_every_device() -> None:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    assert len(room.card.open) == 2
    room.sound.close()
    assert room.card.open == []
