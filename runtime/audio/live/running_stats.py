"""How a figure is spread, in constant memory: its newest thousand values, and the greatest."""

from collections import deque
from statistics import median

KEPT = 1000


class Spread:
    """Takes figures one by one."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=KEPT)
        self.count = 0
        self.greatest = 0.0

    def add(self, value: float) -> None:
        """Takes one more."""
        self._newest.append(value)
        self.count += 1
        self.greatest = max(self.greatest, value)

    @property
    def median(self) -> float:
        """Of the newest; 0 where there is none."""
        return median(self._newest) if self._newest else 0.0
