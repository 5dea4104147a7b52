"""One loop for each model, which steps all of its streams together."""

from .engine import Engine
from .events import Busy, Deliver, Ended, Marked, Ready, SessionEvent
from .limits import Limits
from .session import Session
from .statistics import Distribution, Statistics

__all__ = [
    "Busy",
    "Deliver",
    "Distribution",
    "Ended",
    "Engine",
    "Limits",
    "Marked",
    "Ready",
    "Session",
    "SessionEvent",
    "Statistics",
]
