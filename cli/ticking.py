"""Pieces of something slow, with time in between."""

import queue
import threading
from collections.abc import Iterator

_END = object()


def ticking(pieces: Iterator[str], seconds: float) -> Iterator[str]:
    """The pieces as they come, and an empty one whenever so many seconds pass without any.

    They are read in a thread of its own; what that raises is raised here.
    """
    read: queue.Queue[object] = queue.Queue(1)

    def fill() -> None:
        try:
            for piece in pieces:
                read.put(piece)
            read.put(_END)
        except BaseException as error:  # raised where the pieces are used
            read.put(error)

    threading.Thread(target=fill, name="pieces", daemon=True).start()
    while True:
        try:
            found = read.get(timeout=seconds)
        except queue.Empty:
            yield ""
            continue
        if found is _END:
            return
        if isinstance(found, BaseException):
            raise found
        yield str(found)
