"""Kyutai's model families as a person uses them: load one, call it at once or as a stream.

Each name is imported when it is first asked for, so that a program pays for what it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import (
        Audio,
        EndOfTurn,
        Event,
        Pause,
        Restart,
        SpeechStarted,
        Step,
        Text,
        Word,
        WordStarted,
    )
    from .mimi.model import Mimi
    from .options import TurnPolicy
    from .speech_to_speech.hibiki import Hibiki, Translation
    from .speech_to_speech.moshi import Moshi, Reply
    from .stt.model import SpeechToText
    from .tts.model import TextToSpeech
    from .tts.synthesis import Speech, SpeechRequest

HOMES = {
    "Audio": "events",
    "EndOfTurn": "events",
    "Event": "events",
    "Hibiki": "speech_to_speech.hibiki",
    "Mimi": "mimi.model",
    "Moshi": "speech_to_speech.moshi",
    "Pause": "events",
    "Reply": "speech_to_speech.moshi",
    "Restart": "events",
    "Speech": "tts.synthesis",
    "SpeechRequest": "tts.synthesis",
    "SpeechStarted": "events",
    "SpeechToText": "stt.model",
    "Step": "events",
    "Text": "events",
    "TextToSpeech": "tts.model",
    "Translation": "speech_to_speech.hibiki",
    "TurnPolicy": "options",
    "Word": "events",
    "WordStarted": "events",
}
"""The module of each name."""

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
    "Step",
    "Text",
    "TextToSpeech",
    "Translation",
    "TurnPolicy",
    "Word",
    "WordStarted",
]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
