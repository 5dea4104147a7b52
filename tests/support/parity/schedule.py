"""Which rows of a batch are active, held or reset at each frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FRAMES = 620
ROWS = 4


@dataclass(frozen=True)
class Frame:
    """One call: rows to reset before it, and rows that it steps."""

    reset: list[int]
    active: np.ndarray


def schedule(frames: int = FRAMES, rows: int = ROWS, seed: int = 0) -> Iterator[Frame]:
    """Row 0 always runs; the others start later, are held now and then, and are reset twice."""
    noise = np.random.default_rng(seed)
    starts = [0, 7, 30, 101][:rows]
    resets = {3 * frames // 7 + 11 * row: row for row in range(1, rows)}
    resets |= {frames - 60 + 3 * row: row for row in range(1, rows)}
    for index in range(frames):
        active = np.array([index >= start for start in starts])
        active[1:] &= noise.random(rows - 1) < 0.85
        reset = [resets[index]] if index in resets else []
        active[reset] = True
        yield Frame(reset, active)
