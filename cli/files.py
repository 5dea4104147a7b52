"""The files that one call of a command reads and writes, declared before anything is loaded."""

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TextIO

from ..runtime.errors import UsageError
from ..runtime.output_file import refused, writes_directly

Identity = tuple[int, int] | str
"""Device and number of an existing file; the resolved path of one that is yet to be made."""

Name = str | Path | None
"""A file of a command line: - is standard input or output, None was not given."""


class Declared:
    """What the running command writes."""

    outputs: ClassVar[dict[Identity, Path]] = {}


def declare(
    *,
    reads: Iterable[Name],
    audio: Iterable[Name] = (),
    others: Iterable[Name] = (),
    force: bool = False,
) -> None:
    """Declares the inputs of a call, the recordings it writes, and the other files it writes.

    Raises UsageError if an output is an input, by whatever name or link, if two outputs are the
    same file, or if an output would replace a recording or a model by another kind of file, unless
    `force` is given.
    """
    sounds, texts = _named(audio), _named(others)
    inputs = _identities(reads)
    Declared.outputs = outputs = {}
    printed = _open_file(sys.stdout)
    if printed in inputs:
        raise UsageError(f"standard output is the input {inputs[printed]}; redirect it elsewhere")
    for path in (*sounds, *texts):
        with refused(path):
            shared = not path.is_dir() and writes_directly(path)
        identity = _identity(path)
        if identity is None:
            continue
        if identity in inputs:
            raise UsageError(f"{path} is an input of this command; name another file")
        if not shared and (identity in outputs or identity == printed):
            raise UsageError(f"{path} is to be written twice; name another file")
        outputs[identity] = path
    if not force:
        _keep_others(sounds, texts)


def protect_folder(folder: Path) -> None:
    """Raises UsageError if an output of this call is a file of a folder that it reads."""
    if not Declared.outputs:
        return
    for file in folder.rglob("*"):
        output = Declared.outputs.get(_identity(file) or "")
        if output is not None:
            raise UsageError(f"{output} is a file of the model {folder}; name another file")


def declare_folder(folder: Path | None, *, reads: Iterable[Name]) -> None:
    """Declares a folder that a call replaces; raises UsageError if an input lies in it."""
    if folder is None:
        return
    real = Path(os.path.realpath(folder))
    for path in _named(reads):
        if Path(os.path.realpath(path)).is_relative_to(real):
            raise UsageError(f"{folder} holds the input {path}; name another folder")


def _keep_others(sounds: Iterable[Path], texts: Iterable[Path]) -> None:
    """Raises UsageError for a file of a model, and for a recording that no recording replaces."""
    from .output.file_kind import FileKind, kind_of

    kinds = [(path, kind_of(path), FileKind.AUDIO) for path in sounds]
    kinds += [(path, kind_of(path), FileKind.OTHER) for path in texts]
    for path, kind, allowed in kinds:
        if kind not in (allowed, FileKind.OTHER):
            raise UsageError(f"{path} is {kind}; name another file, or replace it with '--force'")


def _named(names: Iterable[Name]) -> list[Path]:
    return [Path(name) for name in names if name is not None and str(name) != "-"]


def _identities(reads: Iterable[Name]) -> dict[Identity, str]:
    names = [name for name in reads if name is not None]
    found = {identity: str(path) for path in _named(names) if (identity := _identity(path))}
    piped = _open_file(sys.stdin) if any(str(name) == "-" for name in names) else None
    return found if piped is None else found | {piped: "standard input"}


def _identity(path: Path) -> Identity | None:
    """None is a folder, a pipe or a device: several may share one."""
    try:
        return _number(path.stat())
    except OSError:
        return os.path.normcase(os.path.realpath(path))


def _open_file(stream: TextIO | None) -> Identity | None:
    """The file that a standard stream is redirected to; None for anything else."""
    if stream is not None:
        with suppress(OSError, ValueError, AttributeError):
            return _number(os.fstat(stream.fileno()))
    return None


def _number(status: os.stat_result) -> Identity | None:
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
