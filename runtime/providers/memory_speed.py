"""How fast this machine reads memory, which sets the pace of a model's step."""

import threading
import time
from typing import Any

import numpy as np


def read_bandwidth(threads: int, size: int = 1 << 30, tries: int = 7) -> float:
    """Bytes per second at which `threads` threads read `size` bytes that no cache holds; the best
    try."""
    parts = [np.full(size // 4 // threads, index + 1, np.float32) for index in range(threads)]
    return size / min(_together(parts) for _ in range(tries))


def _together(parts: list[Any]) -> float:
    ready = threading.Barrier(len(parts) + 1)

    def read(part: Any) -> None:
        ready.wait()
        part.max()

    workers = [threading.Thread(target=read, args=(part,)) for part in parts]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started
