"""File descriptors: how many connections they are enough for, and what happens without any."""

import asyncio
import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .connections import SPARE
from .logs import Seldom, log

EACH = 3
"""Descriptors of a connection: its own, that of a body it posts, and that of its decoder."""
OTHERS = 32
"""Descriptors for all else that a server opens while it runs."""
LEAST = 4
"""Connections that a server has in any case."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def affordable(connections: int) -> int:
    """How many of `connections` the process has descriptors for, once its limit is raised as far
    as it may be. Logs that there are fewer."""
    try:
        import resource
    except ImportError:  # Windows
        return connections
    used = _open_descriptors() + OTHERS
    wanted = used + EACH * (connections + SPARE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _covers(soft, wanted):
        return connections
    most = wanted if _covers(hard, wanted) else hard
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if _covers(soft, wanted):
        return connections
    found = max(LEAST, (soft - used) // EACH - SPARE)
    log("fewer connections", connections=found, asked=connections, descriptors=soft)
    return found


def _covers(limit: int, wanted: int) -> bool:
    import resource

    return limit == resource.RLIM_INFINITY or limit >= wanted


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return OTHERS


@contextlib.contextmanager
def logging_exhaustion(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Logs connections that could not be accepted as a line now and then; the event loop accepts
    again after a second. Otherwise it would log a traceback for each of its tries."""
    seldom = Seldom("no more file descriptors")
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED and "socket" in context:
            seldom.log(why=error.strerror)
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
