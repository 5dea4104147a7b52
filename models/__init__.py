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
        WordHeard,
    )
    from .hibiki import Hibiki, Translation
    from .mimi import Mimi
    from .moshi import Moshi, Reply
    from .pauses import TurnPolicy
    from .speech_to_text import SpeechToText
    from .speeches import Speech, SpeechRequest
    from .text_to_speech import TextToSpeech

HOMES = {
    "Audio": "events",
    "EndOfTurn": "events",
    "Event": "events",
    "Hibiki": "hibiki",
    "Mimi": "mimi",
    "Moshi": "moshi",
    "Pause": "events",
    "Reply": "moshi",
    "Restart": "events",
    "Speech": "speeches",
    "SpeechRequest": "speeches",
    "SpeechStarted": "events",
    "SpeechToText": "speech_to_text",
    "Step": "events",
    "Text": "events",
    "TextToSpeech": "text_to_speech",
    "Translation": "hibiki",
    "TurnPolicy": "pauses",
    "Word": "events",
    "WordHeard": "events",
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
    "WordHeard",
]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
