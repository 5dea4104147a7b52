"""What every engine does in its process: read on stdin how many frames are wanted, step them, and
write on stdout what each part of each frame took.

Imports nothing but the standard library and numpy, since each peer has an environment of its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..memory import held_mb, peak_mb

FRAME_SIZE, FRAME_SECONDS = 1920, 0.08
LOUDNESS = 0.1
Array = np.ndarray[Any, Any]
Parts = dict[str, float]
"""Seconds that each part of a frame took."""
Step = Callable[[], Parts]


class Stopwatch:
    """Splits the time of a frame among its parts, each of which ends once `finish` returns."""

    def __init__(self, finish: Callable[[], None] = lambda: None) -> None:
        self.parts: Parts = {}
        self._finish = finish

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        self._finish()
        self.parts[part] = time.perf_counter() - started
        return result


WHOLE = 250
"""Frames of a whole recording."""


def sound(batch: int, noise: np.random.Generator, frames: int = 1) -> Array:
    """Frames of noise, float32 `[batch, 1, samples]`."""
    shape = (batch, 1, frames * FRAME_SIZE)
    return noise.standard_normal(shape, np.float32) * np.float32(LOUDNESS)


def a_frame(parts: Parts) -> Parts:
    """What a frame of a whole recording took."""
    each = {name: seconds / WHOLE for name, seconds in parts.items()}
    return {**each, "frame": sum(each.values())}


def arguments(*names: str) -> argparse.Namespace:
    """What the parent says: words in order, and the options that all engines share."""
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--codebooks", type=int)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--whole", action="store_true", help="a codec on whole recordings")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def serve(load: Callable[[], Step]) -> None:
    """Loads, reports how long that and the first frame took, then steps as often as asked."""
    taken = time.perf_counter()
    step = load()
    opened = time.perf_counter()
    step()
    reported = {"load_seconds": opened - taken, "first_seconds": time.perf_counter() - opened}
    print(json.dumps(reported), flush=True)
    for line in sys.stdin:
        frames = [whole(step) for _ in range(int(line))]
        memory = {"peak_mb": peak_mb(), "held_mb": held_mb()}
        print(json.dumps({"frames": frames, **memory}), flush=True)


def whole(step: Step) -> Parts:
    """The parts of a frame, and all of it unless the step says that itself."""
    started = time.perf_counter()
    parts = step()
    return {"frame": time.perf_counter() - started, **parts}
