"""What is wrong with a command line is told in one line, and help is there for every command."""

import pytest
from support.commands import Command

COMMANDS = [
    ("transcribe",),
    ("stream",),
    ("export",),
    ("verify",),
    ("info",),
    ("evaluate",),
    ("doctor",),
    ("codec",),
    ("codec", "encode"),
    ("codec", "decode"),
]


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: Command, name: tuple[str, ...]) -> None:
    done = command(*name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: kyutai-onnx {' '.join(name)}" in done.plain


def test_help_shows_brackets(command: Command) -> None:
    assert "[@rev]" in "".join(command("stream", "--help").plain.split())


@pytest.mark.parametrize("name", [(), ("codec",)])
def test_without_a_subcommand_the_help_is_shown(command: Command, name: tuple[str, ...]) -> None:
    done = command(*name)
    assert (done.code, done.err) == (2, "")
    assert "Usage: kyutai-onnx" in done.plain


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("sing",), "No such command 'sing'; see 'kyutai-onnx --help'"),
        (("codec", "sing"), "see 'kyutai-onnx codec --help'"),
        (("transcribe",), "files"),
        (("transcribe", "a.wav", "--loudly"), "No such option: --loudly"),
        (("transcribe", "a.wav", "--format", "doc"), "'doc' is not one of"),
        (("transcribe", "a.wav", "--threads", "0"), "--threads"),
        (("transcribe", "a.wav", "--threads", "many"), "--threads"),
        (("transcribe", "a.wav", "--channel", "-1"), "--channel"),
        (("transcribe", "a.wav", "--temp", "-1"), "--temp"),
        (("transcribe", "a.wav", "--seed", "-1"), "--seed"),
        (("transcribe", "a.wav", "--model"), "--model"),
        (("stream", "--input-file", "a.wav", "--rate", "0"), "--rate"),
        (("stream", "--input-file", "a.wav", "--format", "srt"), "'srt'"),
        (("stream", "--watchdog", "-1"), "--watchdog"),
        (("stream", "--input-device"), "--input-device"),
        (("codec", "encode", "a.wav"), "codes"),
        (("export",), "--repo"),
        (("verify", "bundle"), "--repo"),
        (("info", "a", "b"), "unexpected extra argument"),
        (("evaluate", "--limit", "0"), "--limit"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    command: Command, arguments: tuple[str, ...], cause: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert cause in done.error
    assert "Value error" not in done.error
    assert done.error.endswith("--help'")


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
    assert done.error == "RuntimeError: a cause (more with '--debug')"


def test_an_interrupted_command_returns_130(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kyutai_onnx.cli.load.locate", interrupt)
    assert command("info").code == 130
