"""How long a client may take. What it sent or read while the event loop stood still, as on a
suspended machine or one without a processor to spare, counts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

GRACE_SECONDS = 1.0
"""Seconds for what has arrived to be read."""


@asynccontextmanager
async def client_timeout(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the block as `asyncio.timeout` does, a moment later: after a standstill
    of the event loop its timers are due at once, before anything that waits is handled."""
    if seconds <= 0:
        raise TimeoutError
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:

        def expire() -> None:
            timeout.reschedule(loop.time() + GRACE_SECONDS)

        timer = loop.call_later(seconds, expire)
        try:
            yield
        finally:
            timer.cancel()


def call_after(seconds: float, late: Callable[[], object]) -> None:
    """Call a function when a client has been too slow, likewise a moment later."""
    loop = asyncio.get_running_loop()
    loop.call_later(seconds, loop.call_later, GRACE_SECONDS, late)
