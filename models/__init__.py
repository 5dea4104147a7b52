"""Kyutai's model families as a person uses them: load one, call it at once or as a stream."""

from .events import Audio, EndOfTurn, Event, Pause, Restart, SpeechStarted, Text, Word
from .hibiki import Hibiki, Translation
from .mimi import Mimi
from .moshi import Moshi, Reply
from .pauses import TurnPolicy
from .speech_batch import Speech, SpeechRequest
from .speech_to_text import SpeechToText
from .text_to_speech import TextToSpeech

__all__ = [
    "Audio",
    "EndOfTurn",
    "Event",
    "Hibiki",
    "Mimi",
    "Moshi",
    "Pause",
    "Reply",
    "Restart",
    "Speech",
    "SpeechRequest",
    "SpeechStarted",
    "SpeechToText",
    "Text",
    "TextToSpeech",
    "Translation",
    "TurnPolicy",
    "Word",
]
