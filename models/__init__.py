"""Kyutai's model families as a person uses them: load one, call it at once or as a stream."""

from .events import EndOfTurn, Event, Pause, Word
from .mimi import Mimi
from .speech_to_text import SpeechToText

__all__ = ["EndOfTurn", "Event", "Mimi", "Pause", "SpeechToText", "Word"]
