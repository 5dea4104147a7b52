"""Opens the model that a command was given, and tells of a choice that the user did not make."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.families import DEFAULT, HIBIKI, MOSHI, TEXT_TO_SPEECH, Family
from ..models.hub.resolve import locate
from ..runtime.bundle.bundle import Bundle
from .files import protect_folder
from .messages import say

if TYPE_CHECKING:
    from ..models import Hibiki, Mimi, Moshi, SpeechToText, TextToSpeech
    from ..runtime.audio import AudioSource


def load_speech_to_text(
    model: str | None, provider: str, threads: int | None, allow_fallback: bool, quiet: bool
) -> "SpeechToText":
    """Loads a speech-to-text bundle."""
    from ..models import SpeechToText

    return SpeechToText.load(
        open_model(model, quiet),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
    )


def load_mimi(
    model: str | None, provider: str, threads: int | None, allow_fallback: bool, quiet: bool
) -> "Mimi":
    """Loads the codec of any bundle."""
    from ..models import Mimi

    return Mimi.load(
        open_model(model, quiet),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
    )


def load_hibiki(
    model: str | None, provider: str, threads: int | None, allow_fallback: bool, quiet: bool
) -> "Hibiki":
    """Loads a speech translator."""
    from ..models import Hibiki

    return Hibiki.load(
        open_model(model, quiet, HIBIKI),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
    )


def load_moshi(
    model: str | None, provider: str, threads: int | None, allow_fallback: bool, quiet: bool
) -> "Moshi":
    """Loads a partner in conversation."""
    from ..models import Moshi

    return Moshi.load(
        open_model(model, quiet, MOSHI),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
    )


def load_text_to_speech(
    model: str | None,
    provider: str,
    threads: int | None,
    allow_fallback: bool,
    quiet: bool,
    codebooks: int | None = None,
) -> "TextToSpeech":
    """Loads a text-to-speech bundle, to make so many codebooks of each frame."""
    from ..models import TextToSpeech

    return TextToSpeech.load(
        open_model(model, quiet, TEXT_TO_SPEECH),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
        codebooks=codebooks,
    )


def open_model(model: str | None, quiet: bool, family: Family = DEFAULT) -> Bundle:
    """Open the bundle that the command line means, without one the demo of a family."""
    located = locate(model, family)
    if located.note:
        say(located.note, quiet=quiet)
    protect_folder(located.path)
    return Bundle.open(located.path)


def read_whole(source: "AudioSource", sample_rate: int) -> np.ndarray[Any, Any]:
    """A short file at once: float32 `[n]` at `sample_rate`."""
    from ..runtime.audio import read_audio

    return np.concatenate(list(read_audio(source, sample_rate)))
