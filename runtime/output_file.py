"""Writes files: each is written beside its target and renamed over it when it is whole."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import KyutaiOnnxError

SUFFIX = ".part"
"""What the name of an unfinished file ends with; one is left only if a program is killed."""

STDOUT_PATHS = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

_NAME = 40
_BINARY = getattr(os, "O_BINARY", 0)


class OutputFile:
    """A file that appears at `path` when it is committed; until then an older one stays as it is.

    The file of a symbolic link is replaced, the link stays; a replaced file's mode is kept. What is
    no regular file (a pipe, a terminal, /dev/stdout) is opened and written directly.

    Raises OSError if the system refuses.
    """

    standard_output = 1
    """The descriptor that /dev/stdout stands for, if a program has moved it."""

    def __init__(self, path: Path | str) -> None:
        self.part = Path(path)
        if self.standard_output != 1 and str(path) in STDOUT_PATHS:
            self.part = Path(f"/dev/fd/{self.standard_output}")
        """The file that is written meanwhile."""
        self._target: Path | None = None
        """What `commit` replaces; None if `part` is written directly."""
        if writes_directly(self.part):
            self.stream: BinaryIO = self.part.open("wb")
        else:
            self._target = Path(os.path.realpath(path))
            self.part, self.stream = _create_beside(self._target)

    def commit(self, *, sync: bool = True) -> None:
        """Closes the file and puts it at its path; `sync` has the disk keep it first."""
        try:
            self._finish(sync=sync)
            if self._target is not None:
                _replace(self.part, self._target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Closes and removes the unfinished file; the path is as it was."""
        self._close()
        if self._target is not None:
            self.part.unlink(missing_ok=True)

    def salvage(self) -> None:
        """Keeps what was written before a fault, unless that would replace a file."""
        if self._target is None or os.path.lexists(self._target):
            self.discard()
            return
        self._close()
        self.part.rename(self._target)

    def _finish(self, *, sync: bool) -> None:
        self.stream.close()
        if self._target is not None and sync:
            with self.part.open("ab") as file:
                os.fsync(file.fileno())

    def _close(self) -> None:
        with suppress(OSError):
            self.stream.close()


@contextmanager
def output_file(path: Path | str, *, sync: bool = True) -> Iterator[BinaryIO]:
    """The stream of a file that is replaced as a whole when the block ends, or not at all.

    Raises KyutaiOnnxError if the system refuses.
    """
    with refused(path):
        output = OutputFile(path)
        try:
            yield output.stream
        except BaseException:
            output.discard()
            raise
        output.commit(sync=sync)


@contextmanager
def refused(path: Path | str) -> Iterator[None]:
    """Raises KyutaiOnnxError about `path` for what the system refuses meanwhile; a pipe that nobody
    reads any more stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KyutaiOnnxError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another place"
        ) from None


def writes_directly(path: Path) -> bool:
    """Whether a path is written as it is: no regular file, or a descriptor such as /dev/stdout.

    Raises OSError for a folder and for a path that cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return not stat.S_ISREG(mode) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Whether a link on the way is one of the system's to an open file."""
    while path.is_symlink():
        folder = Path(os.path.realpath(path.parent))
        if folder.parts[:2] in (("/", "dev"), ("/", "proc")):
            return True
        path = folder / path.readlink()
    return False


def _create_beside(target: Path) -> tuple[Path, BinaryIO]:
    """An empty file in the folder of `target`, with the mode of the one that it is to replace."""
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    part = target.with_name(f"{target.name[:_NAME]}.{secrets.token_hex(4)}{SUFFIX}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    with suppress(OSError):  # nothing there, or a disk without modes and owners
        old = target.stat()
        part.chmod(stat.S_IMODE(old.st_mode))
        if os.name == "posix":
            os.chown(part, old.st_uid, old.st_gid)
    return part, os.fdopen(descriptor, "wb")


def _replace(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(part, target)  # a file that is mounted alone, as containers have them
        part.unlink()


def is_folder(name: str) -> bool:
    """Whether there is a folder of that name; no system has one whose name is too long."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False
