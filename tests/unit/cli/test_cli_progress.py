"""Long work shows a bar on a terminal, on stderr, and nowhere else."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.npz import arrays

from kyutai_onnx.cli.main import run
from kyutai_onnx.cli.messages import progress_bar
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
