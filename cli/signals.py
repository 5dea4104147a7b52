"""What ends a command: Ctrl-C, and the signals by which a system or a terminal asks it to end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDINGS = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does, if the system has them."""

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def ended_by(handler: Handler, *names: str) -> Iterator[None]:
    """Answers signals until the block ends; only the main thread can. One of `ENDINGS` that this
    program is to ignore, as with `nohup`, stays ignored."""
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
