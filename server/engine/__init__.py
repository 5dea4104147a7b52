"""The batching engine: one loop for each model, which steps all of its sessions together."""

from .engine import Engine
from .events import Busy, Deliver, Ended, Marked, Ready, SessionEvent
from .session import Session
from .statistics import Distribution, Statistics

__all__ = [
    "Busy",
    "Deliver",
    "Distribution",
    "Ended",
    "Engine",
    "Marked",
    "Ready",
    "Session",
    "SessionEvent",
    "Statistics",
]
