"""Objects that one thread at a time may use, and the error if two do."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .errors import UsageError


class Exclusive:
    """Held while one thread is inside, which may enter again; another one is refused, and does not
    wait. Raises UsageError."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise UsageError(
                "this stream is used by two threads at once; give each thread a stream of its own"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Owner(Protocol):
    """What has methods that are `exclusive`."""

    @property
    def _exclusive(self) -> Exclusive: ...


S = TypeVar("S", bound=Owner)
P = ParamSpec("P")
T = TypeVar("T")


def exclusive(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Makes a method one that two threads cannot be in at once, nor in others of the object."""

    @wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._exclusive:
            return method(self, *args, **kwargs)

    return guarded
