"""OpenAI's messages: the requests of `/v1/audio/speech`, `/v1/audio/transcriptions` and
`/v1/audio/translations`, and what all answers have in common."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...models.options import (
    Offered,
    Range,
    SpeechOptions,
    SpeechToTextOptions,
    StreamOptions,
    TranslationOptions,
    parameters,
)
from ...runtime.errors import UsageError
from ..wire.query import read_options

SPEECH_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""The formats of speech, the usual one first, and the type of each."""
STREAM_FORMATS = ("audio", "sse")
TRANSCRIPT_TYPES = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "verbose_json": "application/json",
}
"""The formats of a transcript, likewise."""
GRANULARITIES = ("word", "segment")
GRANULARITY_FIELD = "timestamp_granularities[]"
INCLUDE_FIELD = "include[]"
UNSUPPORTED = ("known_speaker_names[]", "known_speaker_references[]")
LOGPROBS = "logprobs"
KEYWORD_FIELDS = ("keywords[]", "keywords")
DIVIDERS = str.maketrans(dict.fromkeys(",:#\r\n", " "))
"""What divides hotwords, and stands for itself in a keyword."""
TRANSLATION_NAMES = {"text_temperature": "temperature", "temperature": "audio_temperature"}
"""The answer to a translation is text, so `temperature` is that of the text."""
SPEEDS = Range(0.25, 4)
SPEECH_OPTIONS = {
    name: option
    for name, option in parameters(SpeechOptions, Offered.CLIENTS).items()
    if option.range is not None
}
"""The options that a request to speak may have besides OpenAI's fields: those that are numbers."""
EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"


class InvalidRequestError(UsageError):
    """A request that cannot be met as it was made; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class SpeechRequest:
    """The body of `/v1/audio/speech`; `options` are numbers of `SpeechOptions`, besides OpenAI's
    own fields."""

    model: str
    text: str
    voice: str | None
    format: str
    stream_format: str
    speed: float
    options: Mapping[str, Any]


def read_speech_request(content: Mapping[str, Any], most_characters: int) -> SpeechRequest:
    """Read a JSON object; raises InvalidRequestError. `instructions` are accepted, and have no
    effect: no model takes any."""
    text = _text(content, "input")
    if not text.strip():
        raise InvalidRequestError("input: give a text to speak", "input")
    if len(text) > most_characters:
        raise InvalidRequestError(
            f"input: {len(text)} characters, at most {most_characters}", "input"
        )
    voice = content.get("voice")
    name = _text(voice, "id", "voice") if isinstance(voice, dict) else _text(content, "voice")
    return SpeechRequest(
        model=_text(content, "model"),
        text=text,
        voice=name or None,
        format=_choice(content, "response_format", SPEECH_TYPES),
        stream_format=_choice(content, "stream_format", STREAM_FORMATS),
        speed=1.0 if content.get("speed") is None else _number(content, "speed", SPEEDS),
        options={
            name: _number(content, name, option.range)
            for name, option in SPEECH_OPTIONS.items()
            if option.range is not None and content.get(name) is not None
        },
    )


@dataclass(frozen=True)
class TranscriptionRequest:
    """The form of `/v1/audio/transcriptions` or `/v1/audio/translations`, without its file;
    `options` are of `SpeechToTextOptions` or `TranslationOptions`."""

    model: str
    task: Literal["transcribe", "translate"] = "transcribe"
    format: str = "json"
    granularities: tuple[str, ...] = ("segment",)
    stream: bool = False
    logprobs: bool = False
    language: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_transcription_request(fields: Mapping[str, Sequence[str]]) -> TranscriptionRequest:
    """Read a form, each field with its values; raises InvalidRequestError.

    `prompt`, which guides a model of OpenAI, has no effect: it is free text, and here it would be
    text that the model must write first. `keywords` and `hotwords` guide.
    """
    one = {name: values[-1] for name, values in fields.items() if values}
    keywords = [word for name in KEYWORD_FIELDS for word in fields.get(name, ())]
    if guiding := hotwords(keywords, one.get("hotwords", "")):
        one["hotwords"] = guiding
    for name in UNSUPPORTED:
        if name in one:
            raise InvalidRequestError(f"{name}: this model cannot give that; leave it out", name)
    kind = _choice(one, "response_format", TRANSCRIPT_TYPES)
    stream = _boolean(one.get("stream", "false"), "stream")
    if stream and kind not in ("json", "text"):
        raise InvalidRequestError("stream: events are of json or text alone", "stream")
    return TranscriptionRequest(
        model=one.get("model", ""),
        format=kind,
        granularities=_granularities(fields, kind),
        stream=stream,
        logprobs=_includes_logprobs(fields, kind),
        language=one.get("language") or None,
        options=_stream_options(SpeechToTextOptions, {**one, "prompt": ""}),
    )


def read_translation_request(fields: Mapping[str, Sequence[str]]) -> TranscriptionRequest:
    """Read a form, each field with its values; raises InvalidRequestError. `prompt` has no
    effect."""
    one = {name: values[-1] for name, values in fields.items() if values}
    for name in (*UNSUPPORTED, *KEYWORD_FIELDS, "hotwords", "include[]", "include", "stream"):
        if name in one:
            raise InvalidRequestError(f"{name}: a translation has none; leave it out", name)
    kind = _choice(one, "response_format", TRANSCRIPT_TYPES)
    return TranscriptionRequest(
        model=one.get("model", ""),
        task="translate",
        format=kind,
        granularities=_granularities(fields, kind),
        language="english",
        options=_stream_options(TranslationOptions, one, TRANSLATION_NAMES),
    )


def hotwords(keywords: Iterable[str], more: str = "") -> str:
    """Return keywords, each with the usual bonus, and `more` hotwords as `parse_hotwords` reads
    them."""
    plain = (" ".join(word.translate(DIVIDERS).split()) for word in keywords)
    return "\n".join(filter(str.strip, (*plain, more)))


def error(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of an answer that is an error, as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def model_list(names: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """The answer of `/v1/models`: of each model its name, its owner and the second it was made."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": owner}
        for name, owner, created in names
    ]
    return {"object": "list", "data": data}


def voice_list(names: Iterable[str]) -> dict[str, Any]:
    """The answer of `/v1/audio/voices`, as other servers of this API give it."""
    return {"voices": [{"id": name, "name": name} for name in names]}


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _text(content: Mapping[str, Any], name: str, param: str | None = None) -> str:
    """Return a field that is a text, an empty one if it is not given."""
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{param or name}: a text", param or name)
    return value or ""


def _choice(content: Mapping[str, Any], name: str, choices: Iterable[str]) -> str:
    """Return a field that is one of `choices`, the first of them if it is not given."""
    first, *others = choices
    value = _text(content, name) or first
    if value not in (first, *others):
        known = ", ".join((first, *others))
        raise InvalidRequestError(f"{name} {value[:20]!r}: one of {known}", name)
    return value


def _number(content: Mapping[str, Any], name: str, limits: Range) -> Any:
    """Return a field that is a number; clients send some as text."""
    value = content[name]
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = int(value) if limits.whole else float(value)
    if not limits.has(value):
        raise InvalidRequestError(f"{name}: {limits}", name)
    return value


def _granularities(fields: Mapping[str, Sequence[str]], kind: str) -> tuple[str, ...]:
    given = [*fields.get(GRANULARITY_FIELD, ()), *fields.get("timestamp_granularities", ())]
    unknown = [name for name in given if name not in GRANULARITIES]
    if unknown:
        raise InvalidRequestError(
            f"timestamp_granularities {unknown[0][:20]!r}: word, segment or both", GRANULARITY_FIELD
        )
    if given and kind != "verbose_json":
        raise InvalidRequestError(
            "timestamp_granularities go with response_format=verbose_json", GRANULARITY_FIELD
        )
    return tuple(dict.fromkeys(given)) or ("segment",)


def _stream_options(
    kind: type[StreamOptions], one: Mapping[str, str], names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    try:
        return read_options(kind, one, names)
    except (ValueError, UsageError) as error:
        message = str(error)
        raise InvalidRequestError(message, message.split()[0]) from None


def _includes_logprobs(fields: Mapping[str, Sequence[str]], kind: str) -> bool:
    given = [*fields.get(INCLUDE_FIELD, ()), *fields.get("include", ())]
    unknown = [name for name in given if name != LOGPROBS]
    if unknown or (given and kind != "json"):
        raise InvalidRequestError(
            "include: only logprobs, with response_format=json", INCLUDE_FIELD
        )
    return bool(given)


def _boolean(given: str, name: str) -> bool:
    if given.lower() not in ("true", "false", "1", "0"):
        raise InvalidRequestError(f"{name} {given[:20]!r}: true or false", name)
    return given.lower() in ("true", "1")
