"""What is wrong with a command line is reported in one line, and every command has help."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Command
from typer.core import TyperGroup
from typer.main import get_command

from kyutai_onnx.cli import main
from kyutai_onnx.cli.main import app
from kyutai_onnx.models.families import demo_names


def parsers(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group by its name, and its parser."""
    yield name, command
    if isinstance(command, TyperGroup):
        context = command.context_class(command)
        for inner in command.list_commands(context):
            yield from parsers(command.get_command(context, inner), (*name, inner))


PARSERS = dict(parsers(get_command(app)))
DEFAULT = re.compile(r"[Dd]efault: ")


def test_there_is_a_command_for_each_module() -> None:
    assert {name[0] for name in PARSERS if name} == {
        file.stem for file in Path(main.__file__).parent.glob("commands/[a-z]*.py")
    }


@pytest.mark.parametrize("name", PARSERS, ids=" ".join)
def test_every_command_explains_itself(
    command: Command, name: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = command(*name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: kyutai-onnx {' '.join(name)}".rstrip() in done.plain
    shown = "".join(re.sub(r"[\u2500-\u257f]", "", done.plain).split())
    for option in PARSERS[name].params:
        reported = "".join((option.help or "").replace("\\[", "[").split())
        assert reported in shown


@pytest.mark.parametrize("name", PARSERS, ids=" ".join)
def test_help_says_what_a_command_does_in_a_short_line(name: tuple[str, ...]) -> None:
    first = PARSERS[name].help.splitlines()[0]
    assert len(first) <= 60
    assert first.endswith(".")
    assert not first.split()[0].endswith("s")  # an imperative


@pytest.mark.parametrize("name", PARSERS, ids=" ".join)
def test_help_shows_a_default_once(name: tuple[str, ...]) -> None:
    for option in PARSERS[name].params:
        assert option.help, option.name
        shown = option.default not in (None, False) and option.show_default
        assert len(DEFAULT.findall(option.help)) <= (not shown), option.name


@pytest.mark.parametrize("name", [(), ("codec",)])
def test_without_a_subcommand_the_help_is_shown(command: Command, name: tuple[str, ...]) -> None:
    done = command(*name)
    assert (done.code, done.err) == (2, "")
    assert "Usage: kyutai-onnx" in done.plain


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("sing",), "'sing'; see 'kyutai-onnx --help'"),
        (("codec", "sing"), "see 'kyutai-onnx codec --help'"),
        (("transcribe",), "FILES"),
        (("transcribe", "a.wav", "--loudly"), "No such option: --loudly"),
        (("transcribe", "a.wav", "--format", "doc"), "'doc' is not"),
        (("transcribe", "a.wav", "--threads", "0"), "--threads"),
        (("transcribe", "a.wav", "--threads", "many"), "--threads"),
        (("transcribe", "a.wav", "--channel", "-1"), "--channel"),
        (("transcribe", "a.wav", "--temp", "-1"), "--temp"),
        (("transcribe", "a.wav", "--seed", "-1"), "--seed"),
        (("transcribe", "a.wav", "--model"), "--model"),
        (("stream", "--input-file", "a.wav", "--rate", "0"), "--rate"),
        (("stream", "--input-file", "a.wav", "--format", "srt"), "'srt'"),
        (("stream", "--input-device"), "--input-device"),
        (("codec", "encode", "a.wav"), "CODES"),
        (("info", "a", "b"), "unexpected extra argument"),
        (("evaluate", "--limit", "0"), "--limit"),
    ],
)
def test_a_wrong_command_line_is_reported_in_one_line(
    command: Command, arguments: tuple[str, ...], cause: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert cause in done.error
    assert "Value error" not in done.error
    assert done.error.endswith("--help'")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("export",), "--repo"),
        (("verify", "bundle"), "--repo"),
        (("export", "one", "--repo", "two"), "one"),
        (("info", "one", "--model", "two"), "one"),
        (("bench", "one", "--model", "two"), "one"),
        (("verify", "one", "some/repository", "--model", "two"), "one"),
    ],
)
def test_a_model_or_a_checkpoint_is_named_once(
    command: Command, arguments: tuple[str, ...], cause: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert cause in done.error


@pytest.mark.parametrize("name", ["info", "bench", "voices list", "verify"])
@pytest.mark.parametrize("given", [(), ("--model",)])
def test_a_model_is_named_by_an_option_or_as_an_argument(
    command: Command, name: str, given: tuple[str, ...]
) -> None:
    more = ("--repo", "owner/name") if name == "verify" else ()
    done = command(*name.split(), *given, "nowhere", *more)
    assert (done.code, done.out) == (3, "")
    assert "nowhere" in done.error


@pytest.mark.parametrize("given", [(), ("--repo",)])
def test_a_checkpoint_is_named_by_an_option_or_as_an_argument(
    command: Command, given: tuple[str, ...], tmp_path: Path
) -> None:
    done = command("export", *given, tmp_path)
    assert (done.code, done.out) == (3, "")
    assert str(tmp_path) in done.error


@pytest.mark.parametrize("name", PARSERS, ids=" ".join)
def test_the_help_names_no_types_of_python(
    command: Command, name: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = command(*name, "-h")
    assert (done.code, done.err) == (0, "")
    assert not re.findall(r"<\w+|\w+\[\w+\]|\b(?:bool|int|float|str|range)\b", done.plain)
    assert done.out == command(*name, "--help").out


@pytest.mark.parametrize("name", ["stream", "transcribe", "say", "serve", "info"])
def test_the_help_names_the_demos(command: Command, name: str) -> None:
    text = next(option.help for option in PARSERS[(name,)].params if "--model" in option.opts)
    assert [demo for demo in demo_names() if demo in text] == demo_names()


@pytest.mark.parametrize(
    ("typed", "found"), [("tr", {"transcribe", "translate"}), ("say --sav", {"--save-voice"})]
)
def test_a_shell_completes_commands_and_options(
    typed: str,
    found: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_KYUTAI_ONNX_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"kyutai-onnx {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    with pytest.raises(SystemExit):
        main.run([])
    assert set(capsys.readouterr().out.split()) == found


def test_debug_shows_where_an_error_comes_from_and_keeps_its_code(command: Command) -> None:
    done = command("info", "nowhere", "--debug")
    assert done.code == 3
    first, *_, last = done.err.splitlines()
    assert first.startswith("Traceback")
    assert last.startswith("error: nowhere")
    assert command("info", "nowhere").error.startswith("nowhere")


def test_debug_shows_the_errors_of_single_files_too(command: Command) -> None:
    done = command("transcribe", "nowhere.wav", "--debug", "-q")
    assert done.code == 4
    assert done.err.startswith("Traceback")


def test_what_nobody_foresaw_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a cause\nand its\nmany details")

    monkeypatch.setattr("kyutai_onnx.cli.load.locate", fail)
    done = command("info")
    assert done.code == 1
    assert done.error.startswith("RuntimeError: a cause ")
    assert "'--debug'" in done.error


def test_an_interrupted_command_returns_130(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kyutai_onnx.cli.load.locate", interrupt)
    assert command("info").code == 130
