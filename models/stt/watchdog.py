"""Detects a model that has stopped writing although somebody speaks, as the 1B speech-to-text
model is known to do (kyutai-labs/delayed-streams-modeling, issue 146)."""

import math
from collections import deque
from typing import Any, ClassVar

import numpy as np

from ...runtime.audio import Pcm
from ..stream_state import Integer, List, Number, Record

QUIET = -50.0
"""Decibels of full scale under which nothing counts as speech."""

ABOVE_FLOOR = 10.0
"""Decibels by which speech stands out from what the room always sounds like."""

FLOOR_FRAMES = 125
MOST_PATIENCE = 8


class Watchdog:
    """Counts frames that sound like speech since the last sign of text; after `seconds` of them the
    model has stalled. After a restart without text it waits twice as long, up to eight times."""

    def __init__(self, seconds: float, frame_rate: float) -> None:
        self._limit = seconds * frame_rate
        self.reset()

    def reset(self) -> None:
        """Start over, as a new one."""
        self._levels: deque[float] = deque(maxlen=FLOOR_FRAMES)
        self._spoken = 0
        self._patience = 1

    def stalled(self, frame: Pcm, *, wrote: bool) -> bool:
        """Take samples [n] of about a frame, and whether text came with them; return True once if
        the model has stalled."""
        level = 20 * math.log10(max(1e-9, float(np.std(frame))))
        self._levels.append(level)
        if wrote:
            self._spoken, self._patience = 0, 1
            return False
        floor = float(np.percentile(list(self._levels), 10))
        self._spoken += level > max(QUIET, floor + ABOVE_FLOOR)
        if self._spoken < self._limit * self._patience:
            return False
        self._spoken = 0
        self._patience = min(MOST_PATIENCE, 2 * self._patience)
        return True

    FIELDS: ClassVar = Record(
        {
            "levels": List(Number(), FLOOR_FRAMES),
            "speech_frames": Integer(),
            "patience": Integer(1, MOST_PATIENCE),
        }
    )

    def save(self) -> dict[str, Any]:
        """Return its state, as `FIELDS` describes it."""
        return {
            "levels": list(self._levels),
            "speech_frames": int(self._spoken),
            "patience": self._patience,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._levels.clear()
        self._levels.extend(saved["levels"])
        self._spoken, self._patience = saved["speech_frames"], saved["patience"]
