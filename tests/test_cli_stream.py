"""`stream --input-file`: words as they come, at the pace at which they were spoken."""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bundles import without_heads
from commands import Command
from speech import Array, hiss, write_wav

from kyutai_onnx.cli.choices import LiveFormat
from kyutai_onnx.cli.listening import Screen
from kyutai_onnx.cli.pace import Pace, frames
from kyutai_onnx.models import EndOfTurn, Event, Pause, Word

FAST = ("--rate", 100, "-q")


@pytest.fixture
def paused(pcm: Array, tmp_path: Path) -> Path:
    """The speech, two seconds of rest, and the speech again."""
    return write_wav(tmp_path / "paused.wav", np.concatenate([pcm, hiss(2), pcm]))


def test_words_are_those_of_transcribe(command: Command, speech: Path) -> None:
    done = command("stream", "--input-file", speech, *FAST)
    assert (done.code, done.err) == (0, "")
    assert done.out == command("transcribe", speech).out


def test_jsonl_is_an_event_a_line(command: Command, paused: Path) -> None:
    out = command("stream", "--input-file", paused, "-f", "jsonl", *FAST).out
    events = [json.loads(line) for line in out.splitlines()]
    whole = json.loads(command("transcribe", paused, "-f", "json").out)
    found: dict[str, list[object]] = {"word": [], "pause": [], "end_of_turn": []}
    for event in events:
        found[event.pop("type")].append(event)
    assert found["word"] == whole["words"]
    assert found["pause"] == whole["pauses"]
    assert {"time": whole["pauses"][0]["time"]} in found["end_of_turn"]


def test_vad_shows_pauses_between_words(command: Command, paused: Path) -> None:
    shown = command("stream", "--input-file", paused, "--vad", *FAST).out.split()
    without = command("stream", "--input-file", paused, *FAST).out.split()
    assert "[pause]" in shown
    assert [word for word in shown if word != "[pause]"] == without


def test_vad_needs_extra_heads(command: Command, speech: Path, tmp_path: Path) -> None:
    bundle = without_heads(tmp_path / "bundle")
    done = command("stream", "--input-file", speech, "--vad", "--model", bundle)
    assert (done.code, done.out) == (2, "")
    assert "--extra-heads" in done.error


def test_a_channel_is_picked(command: Command, pcm: Array, tmp_path: Path, speech: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, len(pcm))
    both = write_wav(tmp_path / "both.wav", np.stack([noise, pcm], axis=1))
    expected = command("transcribe", speech).out
    assert command("stream", "--input-file", both, "--channel", 1, *FAST).out == expected


def test_a_file_takes_as_long_as_it_plays(command: Command, speech: Path, pcm: Array) -> None:
    rate = 4
    started = time.monotonic()
    assert command("stream", "--input-file", speech, "--rate", rate).code == 0
    assert time.monotonic() - started >= len(pcm) // 1920 * 1920 / 24000 / rate


def test_frames_leave_at_their_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.accumulate([0.0, 0.1, 0.0, 0.5, 0.0], initial=100.0)
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", slept.append)
    pace = Pace(0.08)
    for _ in range(5):
        pace.wait()
    assert slept == pytest.approx([0.08, 0.16, 0.14, 0.22])


def test_work_that_takes_longer_than_a_frame_adds_up_and_is_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.20, 1.0, 1.18, 2.0, 2.01, 3.0, 3.05])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pace = Pace(0.08)
    behind = []
    for _ in range(4):
        with pace.working():
            pass
        behind.append(pace.behind)
    assert behind == pytest.approx([0.12, 0.22, 0.15, 0.12])
    assert pace.most_behind == pytest.approx(0.22)


def test_all_samples_are_played_in_frames() -> None:
    samples = np.arange(6000, dtype=np.float32)
    played = list(frames([samples[:1000], samples[1000:1000], samples[1000:]], 1920))
    assert [len(frame.reshape(-1)) for frame in played] == [1920, 1920, 1920, 240]
    np.testing.assert_array_equal(np.concatenate(played), samples)


@dataclass
class Growing:
    """Stands for a stream by the word that it is hearing and how far its text has come."""

    partial: str
    told_until: float = 0.0


Step = tuple[Sequence[Event], str] | tuple[Sequence[Event], str, float]


def show(screen: Screen, *steps: Step) -> None:
    for events, *rest in steps:
        screen.show(events, Growing(*rest))
    screen.end()


def word(text: str, start: float = 0.0) -> Word:
    return Word(text, start, start + 0.1)


def test_a_word_grows_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        Screen(LiveFormat.TEXT, False),
        ([], "se"),
        ([], "seven"),
        ([word("seven")], ""),
        ([], "ten"),
    )
    assert capsys.readouterr().out == "seven ten\n"


def test_words_said_as_one_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    pair = [word("ten"), word("past"), word("two")]
    show(Screen(LiveFormat.TEXT, False), ([], "ten pa"), (pair, ""))
    assert capsys.readouterr().out == "ten past two\n"


def test_a_pause_waits_for_the_text_that_lags(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(LiveFormat.TEXT, True)
    screen.show([], Growing("se", 0.5))
    screen.show([Pause(1.0, 0.9)], Growing("se", 0.6))
    screen.show([], Growing("seven", 0.9))
    assert capsys.readouterr().out == "seven"
    screen.show([], Growing("seven", 1.0))
    assert capsys.readouterr().out == " [pause]"
    show(screen, ([word("seven", 0.4)], "", 1.5), ([], "ten", 1.6))
    assert capsys.readouterr().out == " ten\n"


def test_a_pause_comes_before_a_word_that_is_told_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = [Pause(1.0, 0.9), word("one", 0.5), word("two", 2.0)]
    show(Screen(LiveFormat.TEXT, True), (events, "", 3.0))
    assert capsys.readouterr().out == "one [pause] two\n"


def test_half_a_character_waits_for_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    show(Screen(LiveFormat.TEXT, False), ([], "caf\ufffd"), ([], "café"), ([word("café")], ""))
    assert capsys.readouterr().out == "café\n"


def test_an_end_of_turn_is_shown_as_an_event_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show(Screen(LiveFormat.TEXT, True), ([EndOfTurn(1.0)], ""))
    assert capsys.readouterr().out == "\n"
    show(Screen(LiveFormat.JSONL, True), ([EndOfTurn(1.0)], "ignored"))
    assert json.loads(capsys.readouterr().out) == {"type": "end_of_turn", "time": 1.0}
