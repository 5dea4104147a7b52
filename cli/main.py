"""The `kyutai-onnx` command: its subcommands, and how errors become exit codes."""

import os
import sys

import click
import typer

from ..runtime.errors import KyutaiOnnxError
from . import codec, evaluate, export, info, stream, transcribe, verify
from .options import Debugging
from .say import say_error

INTERRUPTED = 130

app = typer.Typer(
    name="kyutai-onnx",
    help="Kyutai's streaming speech models on ONNX Runtime.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("transcribe")(transcribe.transcribe)
app.command("stream")(stream.stream)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("info")(info.info)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(codec.app, name="codec")


def main() -> None:
    """Runs a command and exits with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs a command and returns its exit code; errors are one line on stderr."""
    try:
        result = app(arguments, standalone_mode=False)
    except KyutaiOnnxError as error:
        return fail(error, error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return closed_pipe()
    except Exception as error:  # what nobody foresaw is still one line
        return fail(error, 1, f"{type(error).__name__}: {error} (more with '--debug')")
    return result if isinstance(result, int) else 0


def fail(error: Exception, code: int, line: str | None = None) -> int:
    if Debugging.enabled:
        raise error
    say_error(line or str(error))
    return code


def closed_pipe() -> int:
    """Whoever read our output has enough; nothing more can be written, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
