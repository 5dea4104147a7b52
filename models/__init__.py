"""Kyutai's model families as a person uses them: load one, call it at once or as a stream."""

from .events import Audio, EndOfTurn, Event, Pause, Text, Word
from .hibiki import Hibiki, Translation
from .mimi import Mimi
from .moshi import Moshi, Reply
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
    "Speech",
    "SpeechRequest",
    "SpeechToText",
    "Text",
    "TextToSpeech",
    "Translation",
    "Word",
]
