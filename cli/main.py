"""The `kyutai-onnx` command: its subcommands, and how errors become exit codes."""

import signal
import sys
from importlib import import_module
from typing import Annotated, Any, cast

import typer

from ..runtime.errors import KyutaiOnnxError
from .files import Declared
from .messages import print_error, show_logged, unforeseen
from .options import Debugging, PlainGroup
from .process import ENDINGS, discard_unwritten, ended_by, open_streams

INTERRUPTED = 130
CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""The parser's `ClickException`: of click, or of the copy that newer releases of typer bring."""

COMMANDS = {
    "transcribe": "Speech",
    "say": "Speech",
    "translate": "Speech",
    "chat": "Speech",
    "stream": "Speech",
    "serve": "Speech",
    "models": "Models",
    "export": "Models",
    "publish": "Models",
    "verify": "Models",
    "info": "Models",
    "voices": "Models",
    "codec": "Models",
    "bench": "Measurements",
    "doctor": "Measurements",
    "evaluate": "Measurements",
}
"""Every command, a module of `commands` each, and its panel in the help."""


class Commands(PlainGroup):
    """Imports the module of a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the parser of a command; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = import_module(f".commands.{cmd_name}", __package__)
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            command.rich_help_panel = COMMANDS[cmd_name]  # type: ignore[attr-defined]
            self.commands[cmd_name] = command
        return self.commands[cmd_name]


def show_version(value: bool) -> None:
    """Print the version, if it is asked for, and end the command."""
    if value:
        from importlib import metadata

        print(f"kyutai-onnx {metadata.version('kyutai-onnx')}")
        raise typer.Exit


app = typer.Typer(
    name="kyutai-onnx",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    """Run Kyutai's streaming speech models on ONNX Runtime."""


def main() -> None:
    """Run a command and exit with its code."""
    open_streams()
    code = run(sys.argv[1:])
    discard_unwritten()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; an error is one line on stderr."""
    Debugging.enabled = False
    Declared.outputs, Declared.inputs = {}, []
    show_logged()
    try:
        with ended_by(signal.default_int_handler, *ENDINGS):
            result = app(arguments, prog_name=app.info.name, standalone_mode=False)
        sys.stdout.flush()
    except KyutaiOnnxError as error:
        print_error(error)
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
        print_error(unforeseen(error))
        return 1
    return result if isinstance(result, int) else 0


def misused(error: Any) -> int:
    """Report what the parser refuses; for a bare command it has shown the help instead."""
    message = error.format_message().replace("Value error, ", "")
    if message:
        command = error.ctx.command_path if error.ctx else app.info.name
        print_error(error, f"{message.rstrip('.')}; see '{command} --help'")
    return int(error.exit_code)
