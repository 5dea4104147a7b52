"""Moshi live: it receives and speaks at once, through devices that are slow, go, and come back.

A scripted Moshi receives the number of each frame, and says as frame `n` a buzz as loud as
`n / CARD`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.commands import Command
from support.scripted_models import BOUNDARY, CARD, ONE, PADDING, PLURAL, TWO, moshi, ramp, tokens
from support.soundcards import BOX, LATENCY, MIC, SIZE, Room
from support.speech import RATE, Array
from support.threaded_card import ThreadedCard, Use, using

from kyutai_onnx.cli.live import session
from kyutai_onnx.models import Audio, Moshi
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.runtime.audio.live.live_sound import KEPT_SECONDS, PREBUFFER_SECONDS

FRAME = SIZE / RATE
SAYS = tokens(PADDING, BOUNDARY, ONE, PLURAL, *[PADDING] * 8, BOUNDARY, TWO)


class Talk:
    """A Moshi in a room until a moment, `work` saying how long its work on a frame takes."""

    def __init__(
        self, room: Room, seconds: float, work: Callable[[float], float] = lambda _: 0.02
    ) -> None:
        trace, said = TokenTrace(), list[Array]()
        stream = moshi(SAYS).stream(trace=trace)
        room.clock.at(seconds, room.sound.stop)
        for frame in room.sound.frames():
            with room.sound.meter.working(len(frame.pcm) / RATE, frame.arrived):
                room.clock.work(work(room.clock.now()))
                for event in stream.feed(frame.pcm / (100 * SIZE)):
                    if isinstance(event, Audio):
                        said.append(event.pcm)
                        room.sound.play(event.pcm)
        room.sound.drain()
        self.captured = np.array(trace.codes)[:, 0]
        """The numbers of the frames that it received."""
        self.said = np.concatenate(said)
        self.played = room.card.sound


def room_for_two() -> Room:
    room = Room()
    room.sound.open_microphone(None)
    room.sound.open_output(None)
    return room


def levels(sound: Array) -> Array:
    """The numbers of the frames that are heard from a speaker, each once."""
    numbers = np.rint(np.abs(sound[sound != 0]) * CARD).astype(int)
    return numbers[np.flatnonzero(np.diff(numbers, prepend=0))]


def test_it_speaks_while_it_listens() -> None:
    room = room_for_two()
    talk = Talk(room, 10.0)
    np.testing.assert_array_equal(talk.captured, np.arange(len(talk.captured)))
    assert len(talk.said) == len(talk.captured) * SIZE
    start = int(np.flatnonzero(talk.played)[0])
    np.testing.assert_array_equal(talk.played[start : start + len(talk.said)], talk.said)
    assert (room.sound.playback_buffer.underruns, room.sound.playback_buffer.dropped) == (0, 0)
    answer = FRAME + PREBUFFER_SECONDS + 2 * LATENCY
    assert 0 < room.sound.meter.to_sound.greatest < answer + 2 * FRAME


def test_on_a_slow_machine_it_answers_what_it_received_and_does_not_lag_for_good() -> None:
    room = room_for_two()
    talk = Talk(room, 20.0, lambda _: 1.5 * FRAME)
    inlet, outlet = room.sound.capture_buffer, room.sound.playback_buffer
    gaps = np.diff(talk.captured)
    assert np.all(gaps > 0)
    assert inlet.dropped > 3
    assert np.sum(gaps - 1) * FRAME == pytest.approx(inlet.dropped, abs=2 * FRAME)
    assert len(talk.said) == len(talk.captured) * SIZE
    np.testing.assert_array_equal(talk.played[talk.played != 0], talk.said)
    assert outlet.underruns > 10
    assert room.sound.meter.lag.median < KEPT_SECONDS + LATENCY + 3 * FRAME


def test_a_speaker_that_goes_leaves_it_listening() -> None:
    room = room_for_two()
    room.clock.at(3.0, lambda: room.card.unplug(BOX))
    room.clock.at(6.0, lambda: room.card.plug(BOX))
    talk = Talk(room, 14.0)
    assert len(room.lines) == 2
    assert np.all(np.diff(talk.captured) > 0)
    played_by_speaker = levels(talk.played)
    assert np.all(np.diff(played_by_speaker) > 0)
    said, outlet = len(talk.said) / RATE, room.sound.playback_buffer
    assert 2.9 < outlet.dropped < 8.5
    assert outlet.played + outlet.dropped == pytest.approx(said, abs=0.01)
    assert np.count_nonzero(talk.played) / RATE == pytest.approx(outlet.played, abs=0.01)
    assert room.sound.meter.to_sound.median < 0.6


def test_a_microphone_that_goes_leaves_its_memory() -> None:
    room = room_for_two()
    room.clock.at(3.0, lambda: room.card.unplug(MIC))
    room.clock.at(6.0, lambda: room.card.plug(MIC))
    talk = Talk(room, 14.0)
    assert np.sum(np.diff(talk.captured) > 1) >= 1
    assert room.sound.microphone is not None
    away = room.sound.microphone.away
    assert 2.9 < away < 8.5
    lost = (talk.captured[-1] + 1 - len(talk.captured)) * FRAME
    assert lost == pytest.approx(away, abs=3 * FRAME)
    np.testing.assert_array_equal(levels(talk.said), np.arange(1, len(talk.captured) + 1))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Puts the command on a card whose microphone says frames `1 / 100`, `2 / 100` and so on, and
    makes it follow the script instead of a bundle."""

    on_card = using(monkeypatch)

    def use(frames: int) -> ThreadedCard:
        said = np.concatenate([np.zeros(SIZE // 2, np.float32), ramp(frames)])
        model = moshi(SAYS)
        made = SimpleNamespace(family="moshi")
        bundle = SimpleNamespace(manifest=made, path="moshi")
        monkeypatch.setattr(session, "open_model", lambda *_: bundle)
        monkeypatch.setattr(Moshi, "load", lambda *_, **__: model)
        return on_card(said, MIC, BOX)

    return use


def test_the_command_talks_by_microphone_and_speaker(
    use: Use, command: Command, tmp_path: Path
) -> None:
    card, saved, captured = use(90), tmp_path / "said.wav", tmp_path / "heard.wav"
    files = ("--save-output", saved, "--save-input", captured)
    done = command("stream", "--seed", 1, *files)
    assert (done.code, done.out) == (130, "ones two\n")
    assert "sound to sound" in done.err
    assert "dropped 0.0 s, played 7." in done.err
    said, _ = soundfile.read(saved, dtype="float32")
    assert len(said) == 90 * SIZE
    np.testing.assert_allclose(said[::SIZE] * CARD, np.arange(1, 91), atol=0.02)
    np.testing.assert_array_equal(levels(np.concatenate(card.played)), np.arange(1, 91))
    np.testing.assert_allclose(soundfile.read(captured)[0], card.said, atol=2**-15)


def test_its_events_are_lines_of_json(use: Use, command: Command) -> None:
    use(30)
    out = command("stream", "-f", "jsonl", "-q", "--seed", 1).out
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["type"] for event in events} == {"text", "word", "statistics"}
    words = [event for event in events if event["type"] == "word"]
    assert [word["text"] for word in words] == ["ones", "two"]
    assert all(word["start"] < word["end"] for word in words)
    assert events[-1]["received"] == pytest.approx(30.5 * FRAME, abs=FRAME)


def test_half_duplex_keeps_its_voice_from_its_input(
    use: Use, command: Command, tmp_path: Path
) -> None:
    card, captured = use(90), tmp_path / "heard.wav"
    done = command("stream", "--half-duplex", "--seed", 1, "--save-input", captured)
    assert done.code == 130
    assert "muted" in done.err
    pcm = soundfile.read(captured)[0]
    assert np.count_nonzero(pcm) < 0.2 * len(pcm)
    np.testing.assert_array_equal(levels(np.concatenate(card.played)), np.arange(1, 91))
