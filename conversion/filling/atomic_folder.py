"""A folder that appears whole or not at all."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...runtime.bundle.manifest import is_bundle
from ...runtime.errors import KyutaiOnnxError, UsageError

REASONS = {
    errno.ENOSPC: "no space is left on the disk; free some or {elsewhere}",
    errno.EROFS: "the disk is read-only; {elsewhere}",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "writing to it is not permitted; {elsewhere}"),
    errno.ENOTDIR: "a part of it is a file; {elsewhere}",
    errno.EDQUOT: "your quota of the disk is used up; {elsewhere}",
    errno.ENAMETOOLONG: "its name is too long; {elsewhere}",
}


@contextmanager
def atomic_folder(
    out: Path, *, force: bool, elsewhere: str = "choose another place with '--out'"
) -> Iterator[Path]:
    """Yield a folder to write in: it becomes `out` at the end, and vanishes if anything fails.

    `elsewhere` says in errors how a user chooses another place.

    Raises:
        UsageError: `out` exists and `force` is not given or it is no bundle, or another export
            writes it.
        KyutaiOnnxError: the disk does not take what is written.
    """
    _check(out, force=force)
    try:
        with _claimed(out) as partial:
            _recover(out)
            _check(out, force=force)
            yield partial
            _check(out, force=force)
            _replace(partial, out)
    except OSError as error:
        if error.errno not in REASONS:
            raise
        raise KyutaiOnnxError(
            f"{out}: {REASONS[error.errno].format(elsewhere=elsewhere)}"
        ) from None


def _check(out: Path, *, force: bool) -> None:
    if out.exists() and not force:
        raise UsageError(
            f"{out} is there already; give '--force' to replace it, or another '--out'"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder as '--out'")
    if out.exists() and any(out.iterdir()) and not is_bundle(out):
        raise UsageError(f"{out} holds other things than a bundle; give another '--out'")


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """The folder beside `out` that one export at a time has, empty at first.

    What an export that was killed left there is cleared away. Windows has no locks of folders: two
    exports to one place are not kept apart there.
    """
    partial = out.with_name(f".{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial, out):
        try:
            _clear(partial)
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def _locked(partial: Path, out: Path) -> Iterator[None]:
    """Holds the folder's own lock, which a kill releases; raises UsageError if it is taken."""
    if sys.platform == "win32":
        yield
        return
    lock = os.open(partial, os.O_RDONLY)
    try:
        if not _takes(partial, lock):
            raise UsageError(f"another export writes {out}; wait for it, or give another '--out'")
        yield
    finally:
        os.close(lock)


def _takes(partial: Path, lock: int) -> bool:
    """Whether the lock is had, and is that of the folder which lies there now."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _recover(out: Path) -> None:
    """Puts back what an export moved away when it was killed."""
    old = _old(out)
    if old.exists() and not out.exists():
        old.rename(out)


def _old(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    old = _old(out)
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
