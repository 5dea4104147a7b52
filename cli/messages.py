"""What goes to stderr: notes, errors and progress. Only results go to stdout."""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import runtime
from ..runtime.errors import KyutaiOnnxError
from .options import Debugging

if TYPE_CHECKING:
    from ..runtime.audio import AudioReader, Pcm


def print_note(line: str, *, quiet: bool = False) -> None:
    """Print a note, unless `quiet`."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def print_seed(seed: int | None, *, quiet: bool) -> None:
    """Print a seed that was drawn, so that the output can be repeated."""
    if seed is not None:
        print_note(f"seed {seed}", quiet=quiet)


class LoggedNotes(logging.Handler):
    """Prints what the runtime logs, such as what it did to odd audio, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        print_note(f"note: {record.getMessage()}")


def show_logged() -> None:
    """Print from now on what the runtime logs; `--quiet` ends that."""
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


LINE_SECONDS = 30.0
"""How often long work prints a line if stderr is not a terminal."""


class ProgressLines:
    """Prints from time to time how far long work is, and about how long the rest takes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._next = self._start + LINE_SECONDS

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print a line if it is time for one; without a total only how long it took so far."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + LINE_SECONDS
        taken = now - self._start
        if 0 < done <= total:
            left = _span(taken * (total - done) / done)
            print_note(f"{what}: {100 * done // total} %, about {left} left")
        else:
            print_note(f"{what}: {_span(taken)} so far")


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that sets what is done, how much, and of how much: a bar on a terminal, from
    the first call on, a line now and then elsewhere."""
    if quiet:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    task = bar.add_task("", total=None)

    def show(what: str, done: int, total: int) -> None:
        bar.start()
        bar.update(task, description=what, completed=done, total=total or None)

    try:
        yield show
    finally:
        bar.stop()


def watched(blocks: "AudioReader", sample_rate: int, *, quiet: bool) -> "Generator[Pcm]":
    """Yield the blocks of a file at `sample_rate`; a bar shows the progress until the generator is
    closed."""
    samples, total = 0, round(blocks.info.duration or 0)
    with progress_bar(quiet=quiet) as progress:
        for block in blocks:
            yield block
            samples += len(block)
            progress("reading", samples // sample_rate, total)
