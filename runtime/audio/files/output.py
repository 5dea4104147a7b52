"""Where audio goes: a file or standard output opened for bytes, and the errors of writing there."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ...errors import AudioError, StandardOutputError
from ...output_file import OutputFile
from .source import reason

STANDARD_OUTPUT = "standard output"


def open_for_writing(path: Path) -> OutputFile:
    """The file that becomes the one at `path`; AudioError with the reason if there cannot be
    one."""
    with writing(str(path)):
        return OutputFile(path)


def open_stdout() -> BinaryIO:
    """Standard output as bytes; AudioError if it is missing or a terminal."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise AudioError("there is no standard output here: name a file")
    if stream.isatty():
        raise AudioError("standard output is a terminal: redirect it to a file or a player")
    sys.stdout.flush()
    return cast("BinaryIO", stream)


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn what the operating system refuses meanwhile into an AudioError about `name`, of standard
    output into a StandardOutputError.

    A pipe whose reader has gone stays a BrokenPipeError: that is how a reader says it has enough.
    """
    try:
        yield
    except BrokenPipeError:
        _abandon_stdout()
        raise
    except (OSError, ValueError) as error:
        if name == STANDARD_OUTPUT:
            raise StandardOutputError(reason(error)) from error
        raise AudioError(write_failure(name, error)) from error


def can_rewrite(stream: BinaryIO) -> bool:
    """Whether earlier bytes can be corrected: the stream seeks and does not only append."""
    seekable = getattr(stream, "seekable", None)
    if seekable is None or not seekable():
        return False
    try:
        return not _appends(stream.fileno())
    except (AttributeError, io.UnsupportedOperation):
        return True  # in memory


def write_failure(name: str, error: Exception) -> str:
    """The one line for an error of the operating system on writing `name`."""
    match error:
        case FileNotFoundError():
            return f"cannot write {name}: there is no folder {Path(name).parent}; make it first"
        case IsADirectoryError():
            return f"cannot write {name}: it is a folder; name a file in it"
        case PermissionError():
            return f"cannot write {name}: permission denied; choose another folder"
    return f"cannot write {name}: {reason(error)}; make room or choose another disk"


def _abandon_stdout() -> None:
    """Let the interpreter's last flush of a broken standard output pass in silence."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
    except (OSError, AttributeError):
        return  # no descriptor stands behind it, so no flush can fail


if sys.platform == "win32":

    def _appends(_descriptor: int) -> bool:
        return False

else:
    import fcntl

    def _appends(descriptor: int) -> bool:
        return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)
