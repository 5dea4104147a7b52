"""Long work shows on stderr how far it is: a bar on a terminal, a line now and then elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.commands import Command
from support.npz import arrays
from support.speech import whole, write_wav

from kyutai_onnx.cli.main import run
from kyutai_onnx.cli.messages import ProgressLines, progress_bar
from kyutai_onnx.models.stt.task import SpeechToTextTask


@pytest.fixture
def on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    """Runs a command whose stderr is a terminal; returns stdout and stderr."""
    monkeypatch.setenv("TERM", "xterm")

    def command(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert run([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    return command


def test_a_bar_leaves_stdout_clean(on_a_terminal, speech: Path) -> None:
    out, err = on_a_terminal("transcribe", speech, "-f", "json")
    assert json.loads(out)["words"]
    assert "reading" in err


def test_words_that_are_shown_as_they_come_need_no_bar(on_a_terminal, speech: Path) -> None:
    out, err = on_a_terminal("transcribe", speech)
    assert out.strip()
    assert "reading" not in err


def test_quiet_shows_no_bar(on_a_terminal, speech: Path, tmp_path: Path) -> None:
    assert on_a_terminal("transcribe", speech, "-f", "json", "-q")[1] == ""
    assert on_a_terminal("codec", "encode", speech, tmp_path / "a.npz", "-q") == ("", "")


def test_codes_have_a_bar_too(on_a_terminal, speech: Path, tmp_path: Path) -> None:
    out, err = on_a_terminal("codec", "encode", speech, tmp_path / "a.npz")
    assert out == ""
    assert "reading" in err
    assert arrays(tmp_path / "a.npz")["codes"].size


def test_an_evaluation_shows_how_it_goes(on_a_terminal, speech: Path, tmp_path: Path) -> None:
    entry = {"audio": str(speech), "text": "one two"}
    (tmp_path / "some.jsonl").write_text(json.dumps(entry))
    out, err = on_a_terminal("evaluate", "--dataset", tmp_path / "some.jsonl", "--json")
    assert json.loads(out)["samples"] == 1
    assert "% word error" in err


def test_results_of_an_interrupted_command_stay_on_stdout(
    on_a_terminal, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SpeechToTextTask, "feed", interrupt)
    out, _ = on_a_terminal("transcribe", speech, "-f", "json", code=130)
    assert json.loads(out)["error"] == "interrupted"


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(quiet=False) as progress:
        progress("something", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 1.0, 31.0, 32.0, 60.0, 7300.0, 7400.0])
    lines = ProgressLines(lambda: next(moments))
    for done in (1, 10, 11, 20, 50, 0):
        lines("reading", done, 100 if done else 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["reading"] * 3
    first, second, third = err.splitlines()
    assert ("10 %" in first, "279 s left" in first or "5 min left" in first) == (True, True)
    assert ("50 %" in second, "2 h 2 min left" in second) == (True, True)
    assert "%" not in third


def test_work_on_files_goes_on_between_their_ends(
    command: Command, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(
        ProgressLines, "__call__", lambda _, what, done, total: shown.append((done, total))
    )
    pcm = whole(speech)
    pair = [write_wav(tmp_path / f"{name}.wav", np.tile(pcm, 3)) for name in "ab"]
    assert command("transcribe", *pair).code == 0
    parts = [done / total for done, total in shown]
    assert parts == sorted(parts)
    assert len({part for part in parts if 0 < part < 0.5}) > 2
    assert parts[-1] == 1


def test_words_that_go_to_a_file_leave_the_terminal_to_the_bar(
    on_a_terminal, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out.txt").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        _, err = on_a_terminal("transcribe", speech)
    assert "reading" in err
