"""Pipes that a thread fills."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def piped(*pieces: bytes) -> Iterator[BinaryIO]:
    """A pipe into which a thread writes the pieces."""
    out, into = os.pipe()

    def feed() -> None:
        with os.fdopen(into, "wb", buffering=0) as stream:
            stream.writelines(pieces)

    thread = threading.Thread(target=feed)
    with os.fdopen(out, "rb") as stream:
        thread.start()
        yield stream
        while stream.read1():
            pass
        thread.join()
