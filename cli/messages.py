"""What goes to stderr: notes, errors and progress. Only results go to stdout."""

import logging
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import runtime
from ..runtime.errors import KyutaiOnnxError
from .options import Debugging, Quiet

if TYPE_CHECKING:
    from ..runtime.audio import AudioReader, Pcm


def print_note(line: str, *, quiet: bool = False) -> None:
    """Print a note, unless `quiet`."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


class LoggedNotes(logging.Handler):
    """Prints what the runtime logs, such as what it did to odd audio, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        print_note(f"note: {record.getMessage()}", quiet=Quiet.enabled)


def show_logged() -> None:
    """Print from now on what the runtime logs."""
    logger = logging.getLogger(runtime.__name__)
    logger.handlers = [LoggedNotes(logging.INFO)]
    logger.setLevel(logging.INFO)


def print_error(error: Exception, line: str | None = None) -> None:
    """Print an error in one line, after its traceback with `--debug`."""
    if Debugging.enabled:
        traceback.print_exception(error)
    print(f"error: {line or error}", file=sys.stderr, flush=True)


def unforeseen(error: Exception) -> KyutaiOnnxError:
    """Return the error, in one line, for an exception that nobody expected."""
    cause = str(error).partition("\n")[0]
    shown = KyutaiOnnxError(f"{type(error).__name__}: {cause} (more with '--debug')")
    shown.__cause__ = error
    return shown


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that sets what is done, how much, and of how much; no bar without a
    terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total or None
        )


def watched(blocks: "AudioReader", sample_rate: int, *, quiet: bool) -> "Generator[Pcm]":
    """Yield the blocks of a file at `sample_rate`; a bar shows the progress until the generator is
    closed."""
    samples, total = 0, round(blocks.info.duration or 0)
    with progress_bar(quiet=quiet) as progress:
        for block in blocks:
            yield block
            samples += len(block)
            progress("reading", samples // sample_rate, total)
