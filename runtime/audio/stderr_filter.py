"""Filters the lines that C libraries write to the process's standard error."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_STDERR = 2
_LOCK = threading.Lock()


@contextmanager
def captured_stderr(prefixes: tuple[bytes, ...]) -> Iterator[None]:
    """Drops lines that begin with a prefix; all others are written when the block ends."""
    with _LOCK, _catcher() as caught:
        saved = _saved_stderr()
        if saved is None:
            yield
            return
        try:
            os.dup2(caught.fileno(), _STDERR)
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            caught.seek(0)
            _pass_on(caught.read(), prefixes)


@contextmanager
def filtered_stderr(prefixes: tuple[bytes, ...]) -> Iterator[None]:
    """Drops lines that begin with a prefix, from any thread; all others pass at once."""
    saved = _saved_stderr()
    if saved is None:
        yield
        return
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    passing = threading.Thread(target=_pass_lines, args=(reading, saved, prefixes), daemon=True)
    passing.start()
    try:
        yield
    finally:
        os.dup2(saved, _STDERR)
        passing.join()
        os.close(saved)


def _pass_lines(reading: int, saved: int, prefixes: tuple[bytes, ...]) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if not line.startswith(prefixes):
                with suppress(OSError):
                    os.write(saved, line)


def _catcher() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no folder to write to: then all of it is dropped
        return Path(os.devnull).open("r+b")


def _saved_stderr() -> int | None:
    """A copy of standard error, None in a process that has none to keep clean."""
    try:
        return os.dup(_STDERR) if sys.__stderr__ else None
    except OSError:
        return None


def _pass_on(caught: bytes, prefixes: tuple[bytes, ...]) -> None:
    others = [line for line in caught.splitlines(True) if not line.startswith(prefixes)]
    if others:
        with suppress(OSError):
            os.write(_STDERR, b"".join(others))
