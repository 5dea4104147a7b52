"""The process of a command: the signals that end it, and its standard output and error.

A full or closed standard stream is one line on stderr, never a crash.
"""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from ..runtime.errors import StandardOutputError
from ..runtime.output_file import OutputFile

ENDINGS = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does, if the system has them."""

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def ended_by(handler: Handler, *names: str) -> Iterator[None]:
    """Handle signals until the block ends; only the main thread can.

    One of `ENDINGS` that this program ignores, as under `nohup`, stays ignored.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in names:
            number = getattr(signal, name, None)
            if number is not None and not (name in ENDINGS and _is_ignored(number)):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


class _Raw(io.RawIOBase):
    """Bytes for a descriptor; after `abandoned` is set they are discarded."""

    abandoned = False

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())


class _Output(_Raw):
    """Standard output; raises StandardOutputError for what the system refuses."""

    refusal: str | None = None
    """Why nothing can be written at all."""

    def write(self, data: Any) -> int:
        if self.refusal is not None and not self.abandoned:
            raise StandardOutputError(self.refusal)
        try:
            return len(data) if self.abandoned else int(self._raw.write(data))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StandardOutputError(error.strerror or str(error)) from None


class _Errors(_Raw):
    """Standard error; what the system refuses is discarded."""

    def write(self, data: Any) -> int:
        try:
            return int(self._raw.write(data))
        except OSError:
            return len(data)


def open_streams() -> None:
    """Open standard streams that take or refuse all that the program prints.

    A closed descriptor is filled, so that no file that is opened later gets its number. What C
    libraries print to standard output is discarded.
    """
    closed = [descriptor for descriptor in (0, 1, 2) if not _is_open(descriptor)]
    for descriptor in closed:
        _fill(descriptor)
    raw = _raw(sys.stdout, 1)
    output = _Output(_moved(1) if os.name == "posix" and raw.fileno() == 1 else raw)
    output.refusal = os.strerror(errno.EBADF) if 1 in closed else None
    sys.stdout = _text(output, sys.stdout)
    sys.stderr = _text(_Errors(_raw(sys.stderr, 2)), sys.stderr, line_buffering=True)


def discard_unwritten() -> None:
    """Keep Python from failing at exit because of output that nobody takes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, StandardOutputError):
            raw: Any = getattr(stream.buffer, "raw", None)
            raw.abandoned = True


def _text(raw: _Raw, old: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        "utf-8",
        "backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
        write_through=bool(getattr(old, "write_through", False)),
    )


def _raw(stream: TextIO | None, descriptor: int) -> Any:
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        return io.FileIO(descriptor, "w", closefd=False)
    return getattr(buffer, "raw", buffer)


def _moved(descriptor: int) -> io.FileIO:
    """Return a file for where the descriptor led; the descriptor leads nowhere from now on."""
    moved = OutputFile.standard_output = os.dup(descriptor)
    _fill(descriptor)
    return io.FileIO(moved, "w", closefd=False)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _fill(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
