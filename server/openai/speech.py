"""OpenAI's `/v1/audio/speech`: what is asked for, and the events of speech."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...models.options import Offered, SpeechOptions, parameters
from .messages import InvalidRequestError, event

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
STREAM_FORMATS = ("audio", "sse")


@dataclass(frozen=True)
class SpeechRequest:
    """The fields of a request; `options` are numbers of `SpeechOptions`, besides OpenAI's own."""

    model: str
    text: str
    voice: str | None
    format: str
    stream_format: str
    options: dict[str, Any]


def read_request(content: object, most_characters: int) -> SpeechRequest:
    """The request of a JSON body; raises InvalidRequestError."""
    if not isinstance(content, dict):
        raise InvalidRequestError("the body is a JSON object")
    kind = _text(content, "response_format") or "mp3"
    stream_format = _text(content, "stream_format") or "audio"
    if kind not in CONTENT_TYPES:
        known = ", ".join(CONTENT_TYPES)
        raise InvalidRequestError(
            f"response_format {kind[:20]!r}: one of {known}", "response_format"
        )
    if stream_format not in STREAM_FORMATS:
        raise InvalidRequestError(
            f"stream_format {stream_format[:20]!r}: audio or sse", "stream_format"
        )
    if content.get("speed") not in (None, 1, 1.0):
        raise InvalidRequestError(
            "speed: this model has no rate that could be set; leave it at 1, or give "
            "padding_bonus, from -2 (quicker) to 2 (slower)",
            "speed",
        )
    if content.get("instructions"):
        raise InvalidRequestError(
            "instructions: this model takes none; leave them out", "instructions"
        )
    return SpeechRequest(
        model=_text(content, "model") or "",
        text=_spoken(content, most_characters),
        voice=_voice(content.get("voice")),
        format=kind,
        stream_format=stream_format,
        options=_options(content),
    )


def audio_delta(data: bytes) -> bytes:
    """The event of a piece of speech."""
    return event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def audio_done(words: int, frames: int) -> bytes:
    """The last event; tokens are counted as words read and frames spoken."""
    usage = {"input_tokens": words, "output_tokens": frames, "total_tokens": words + frames}
    return event({"type": "speech.audio.done", "usage": usage})


def _spoken(content: Mapping[str, Any], most: int) -> str:
    text = _text(content, "input")
    if text is None or not text.strip():
        raise InvalidRequestError("input: give a text to speak", "input")
    if len(text) > most:
        raise InvalidRequestError(f"input: {len(text)} characters, at most {most}", "input")
    return text


def _voice(given: object) -> str | None:
    if isinstance(given, dict):
        given = given.get("id")
    if given is not None and not isinstance(given, str):
        raise InvalidRequestError("voice: a name", "voice")
    return given or None


def _options(content: Mapping[str, Any]) -> dict[str, Any]:
    offered = parameters(SpeechOptions, Offered.CLIENTS)
    given = {name: content[name] for name in offered if content.get(name) is not None}
    for name, value in given.items():
        limits = offered[name].range
        if limits is not None and not limits.has(value):
            raise InvalidRequestError(f"{name}: {limits}", name)
    return given


def _text(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{name}: a text", name)
    return value
