"""`stream --input-file`: words as they come, at the pace at which they were spoken."""

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.bundles import without_heads
from support.commands import Command
from support.soundcards import FakeClock
from support.speech import Array, hiss, write_wav

from kyutai_onnx.cli.live.live_audio import paced
from kyutai_onnx.cli.output.live_output import (
    JsonRenderer,
    PlainRenderer,
    Renderer,
    TerminalRenderer,
)
from kyutai_onnx.models import EndOfTurn, Event, Pause, Word
from kyutai_onnx.runtime.audio import cut_frames

FAST = ("--rate", 100, "-q")
PIECE = np.zeros(1920, np.float32)


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
    events = [json.loads(line) for line in out.removesuffix("\n").split("\n")]
    whole = json.loads(command("transcribe", paused, "-f", "json").out)
    names = ("word", "speech_started", "pause", "end_of_turn", "statistics")
    found: dict[str, list[object]] = {name: [] for name in names}
    for event in events:
        found[event.pop("type")].append(event)
    assert found["word"] == whole["words"]
    assert found["pause"] == whole["pauses"]
    assert {"time": whole["pauses"][0]["time"]} in found["end_of_turn"]
    assert len(found["speech_started"]) == len(found["pause"])


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


def test_frames_leave_at_their_pace() -> None:
    clock = FakeClock()
    left = []
    for frame, work in zip(paced([PIECE] * 5, 0.08, clock), [0.1, 0, 0.5, 0, 0], strict=True):
        left.append((clock.now(), frame.arrived))
        clock.work(work)
    assert [due for _, due in left] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.40])
    assert [now for now, _ in left] == pytest.approx([0.08, 0.18, 0.24, 0.74, 0.74])


def test_all_samples_are_played_in_frames() -> None:
    samples = np.arange(6000, dtype=np.float32)
    played = list(cut_frames([samples[:1000], samples[1000:1000], samples[1000:]], 1920))
    assert [len(frame.reshape(-1)) for frame in played] == [1920, 1920, 1920, 240]
    np.testing.assert_array_equal(np.concatenate(played), samples)


@dataclass
class Growing:
    """Stands for a stream by the word that it is transcribing and how far its text has come."""

    partial: str
    processed_until: float = 0.0


Step = tuple[Sequence[Event], str] | tuple[Sequence[Event], str, float]


def show(screen: Renderer, *steps: Step) -> None:
    for events, *rest in steps:
        screen.show(events, Growing(*rest))
    screen.end()


def word(text: str, start: float = 0.0) -> Word:
    return Word(text, start, start + 0.1)


def test_a_word_grows_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        PlainRenderer(vad=False),
        ([], "se"),
        ([], "seven"),
        ([word("seven")], ""),
        ([], "ten"),
    )
    assert capsys.readouterr().out == "seven ten\n"


def test_words_said_as_one_are_distinguished(capsys: pytest.CaptureFixture[str]) -> None:
    pair = [word("ten"), word("past"), word("two")]
    show(PlainRenderer(vad=False), ([], "ten pa"), (pair, ""))
    assert capsys.readouterr().out == "ten past two\n"


def test_a_pause_waits_for_the_text_that_lags(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainRenderer(vad=True)
    screen.show([], Growing("se", 0.5))
    screen.show([Pause(1.0, 0.9)], Growing("se", 0.6))
    screen.show([], Growing("seven", 0.9))
    assert capsys.readouterr().out == "seven"
    screen.show([], Growing("seven", 1.0))
    assert capsys.readouterr().out == " [pause]"
    show(screen, ([word("seven", 0.4)], "", 1.5), ([], "ten", 1.6))
    assert capsys.readouterr().out == " ten\n"


def test_a_pause_comes_before_a_word_that_is_reported_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = [Pause(1.0, 0.9), word("one", 0.5), word("two", 2.0)]
    show(PlainRenderer(vad=True), (events, "", 3.0))
    assert capsys.readouterr().out == "one [pause] two\n"


def test_half_a_character_waits_for_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    show(PlainRenderer(vad=False), ([], "caf\ufffd"), ([], "café"), ([word("café")], ""))
    assert capsys.readouterr().out == "café\n"


def test_an_end_of_turn_is_shown_as_an_event_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show(PlainRenderer(vad=True), ([EndOfTurn(1.0)], ""))
    assert capsys.readouterr().out == "\n"
    show(JsonRenderer(), ([EndOfTurn(1.0)], "ignored"))
    assert json.loads(capsys.readouterr().out) == {"type": "end_of_turn", "time": 1.0}


def test_the_end_of_a_turn_ends_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    events = [word("one", 0.5), Pause(1.0, 0.9), EndOfTurn(1.0), word("two", 3.0)]
    show(PlainRenderer(vad=True), (events, "", 4.0))
    assert capsys.readouterr().out == "one [pause]\ntwo\n"


def drawn(out: str) -> list[str]:
    """What a terminal shows of it in the end, line by line."""
    return [
        line.rpartition("\r")[2].removesuffix("\x1b[K")
        for line in out.removesuffix("\n").split("\n")
    ]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((25, 10)))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("screen", [PlainRenderer, TerminalRenderer])
def test_no_line_is_empty_where_a_turn_ends_last(
    screen: type[PlainRenderer | TerminalRenderer], capsys: pytest.CaptureFixture[str]
) -> None:
    events = [word("one", 0.5), Pause(1.0, 0.9), EndOfTurn(1.0)]
    show(screen(vad=True), (events, "", 4.0))
    assert drawn(capsys.readouterr().out) == ["one [pause]"]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_the_growing_word_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        TerminalRenderer(vad=False),
        ([], "sev"),
        ([], "seventeen"),
        ([word("seven")], "teen"),
        ([word("tin")], ""),
    )
    out = capsys.readouterr().out
    assert "\rseventeen\x1b[K" in out
    assert drawn(out) == ["seven tin"]


@pytest.mark.usefixtures("terminal")
def test_a_full_line_is_followed_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "a",
        "train",
        "leaves",
        "from",
        "boston",
        "at",
        "nine",
        "fifty",
        "in",
        "the",
        "morning",
    ]
    show(TerminalRenderer(vad=False), *(([word(text)], "") for text in words))
    assert drawn(capsys.readouterr().out) == [
        " ".join(words[:4]),
        " ".join(words[4:9]),
        " ".join(words[9:]),
    ]


@pytest.mark.usefixtures("terminal")
def test_a_growing_word_never_wraps(capsys: pytest.CaptureFixture[str]) -> None:
    show(TerminalRenderer(vad=False), ([word("y" * 15)], "x" * 80))
    longest = max(len(part) for part in re.split(r"\r|\x1b\[K|\n", capsys.readouterr().out))
    assert longest == 24


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_pauses_and_turns(capsys: pytest.CaptureFixture[str]) -> None:
    events = [word("one", 0.5), Pause(1.0, 0.9), EndOfTurn(1.0)]
    show(TerminalRenderer(vad=True), (events, "", 0.9), ([word("two", 3.0)], "", 3.5))
    assert drawn(capsys.readouterr().out) == ["one [pause]", "two"]
