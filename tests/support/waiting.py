"""Waiting for other threads, processes and clients: the one place in the tests that polls."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 120.0
"""A bound far above what anything takes on a busy machine."""
_PAUSE_SECONDS = 0.005


def until(true: Callable[[], object]) -> None:
    """Return once it is true; fail if it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never comes"
        time.sleep(_PAUSE_SECONDS)


async def until_async(
    true: Callable[[], Awaitable[object]], describe: Callable[[], Awaitable[str]] | None = None
) -> None:
    """`until` for a coroutine, in an event loop that goes on meanwhile; `describe` says what there
    is if it never comes."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not await true():
        assert time.monotonic() < end, await describe() if describe else "it never comes"
        await asyncio.sleep(_PAUSE_SECONDS)


async def until_here(true: Callable[[], object]) -> None:
    """`until` for an event loop that goes on meanwhile."""

    async def found() -> object:
        return true()

    await until_async(found)
