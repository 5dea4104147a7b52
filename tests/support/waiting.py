"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0
"""A bound far above what anything takes on a busy machine."""


def until(true: Callable[[], object]) -> None:
    """Returns once it is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never comes"
        time.sleep(0.005)
