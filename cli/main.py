"""The `kyutai-onnx` command: its subcommands, and how errors become exit codes."""

import signal
import sys
from typing import Annotated, Any, cast

import typer

from ..runtime.errors import KyutaiOnnxError
from .commands import (
    bench,
    chat,
    codec,
    doctor,
    evaluate,
    export,
    info,
    say,
    serve,
    stream,
    transcribe,
    translate,
    verify,
    voices,
)
from .files import Declared
from .messages import say_error, unforeseen
from .options import Debugging
from .signals import ENDINGS, ended_by
from .standard_streams import discard_unwritten, open_streams

INTERRUPTED = 130
CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""The parser's `ClickException`: of click, or of the copy that newer releases of typer bring."""


def show_version(value: bool) -> None:
    """Prints the version, if it is asked for, and ends the command."""
    if value:
        from importlib import metadata

        print(f"kyutai-onnx {metadata.version('kyutai-onnx')}")
        raise typer.Exit


app = typer.Typer(
    name="kyutai-onnx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def entry(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=show_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Kyutai's streaming speech models on ONNX Runtime."""


app.command("transcribe")(transcribe.transcribe)
app.command("say")(say.say)
app.command("translate")(translate.translate)
app.command("chat")(chat.chat)
app.command("stream")(stream.stream)
app.command("serve")(serve.serve)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("info")(info.info)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(codec.app, name="codec")
app.add_typer(voices.app, name="voices")


def main() -> None:
    """Runs a command and exits with its code."""
    open_streams()
    code = run(sys.argv[1:])
    discard_unwritten()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs a command and returns its exit code; errors are one line on stderr."""
    Debugging.enabled = False
    Declared.outputs = {}
    try:
        with ended_by(signal.default_int_handler, *ENDINGS):
            result = app(arguments, prog_name=app.info.name, standalone_mode=False)
        sys.stdout.flush()
    except KyutaiOnnxError as error:
        say_error(error)
        return error.exit_code
    except CLICK_ERROR as error:
        return misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 0  # whoever read our output has enough
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # as typer answers one
            return 0
        raise
    except Exception as error:  # what nobody foresaw is still one line
        say_error(unforeseen(error))
        return 1
    return result if isinstance(result, int) else 0


def misused(error: Any) -> int:
    """What the parser refuses; where a command alone was given, it has shown the help instead."""
    message = error.format_message().replace("Value error, ", "")
    if message:
        command = error.ctx.command_path if error.ctx else app.info.name
        say_error(error, f"{message.rstrip('.')}; see '{command} --help'")
    return int(error.exit_code)
