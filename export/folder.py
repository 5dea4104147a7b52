"""A folder that appears whole or not at all."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.errors import KyutaiOnnxError, UsageError
from ..runtime.manifest import FILE_NAME

REASONS = {
    errno.ENOSPC: "no space is left on the disk; free some or choose another place with '--out'",
    errno.EROFS: "the disk is read-only; choose another place with '--out'",
    errno.EACCES: "it may not be written to; choose another place with '--out'",
}


@contextmanager
def whole_or_nothing(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write in, which becomes `out` when all is done and vanishes if anything fails.

    Raises UsageError where `out` is there already and not forced or no bundle, KyutaiOnnxError
    where the disk does not take what is written.
    """
    if out.exists() and not force:
        raise UsageError(
            f"{out} is there already; give '--force' to replace it, or another '--out'"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder as '--out'")
    if out.exists() and any(out.iterdir()) and not (out / FILE_NAME).is_file():
        raise UsageError(f"{out} holds other things than a bundle; give another '--out'")
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _replace(partial, out)
    except OSError as error:
        if error.errno not in REASONS:
            raise
        raise KyutaiOnnxError(f"{out}: {REASONS[error.errno]}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
