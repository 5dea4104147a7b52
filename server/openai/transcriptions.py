"""OpenAI's `/v1/audio/transcriptions`: what a form asks for, and words in every format of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...models.events import Word
from ...models.options import SpeechToTextOptions
from ...models.text.subtitles import cues, srt, vtt
from ...runtime.errors import UsageError
from ..wire.query import read_options
from .messages import InvalidRequestError, event

FORMATS = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "verbose_json": "application/json",
}
GRANULARITIES = ("word", "segment")
GRANULARITY_FIELD = "timestamp_granularities[]"
UNSUPPORTED = ("include[]", "include", "known_speaker_names[]", "known_speaker_references[]")


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of a form, without the file; `options` are of `SpeechToTextOptions`."""

    model: str
    format: str = "json"
    granularities: tuple[str, ...] = ("segment",)
    stream: bool = False
    language: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_form(fields: Mapping[str, Sequence[str]]) -> TranscriptionRequest:
    """The request of a form, each field with its values; raises InvalidRequestError."""
    one = {name: values[-1] for name, values in fields.items() if values}
    for name in UNSUPPORTED:
        if name in one:
            raise InvalidRequestError(f"{name}: this model cannot give that; leave it out", name)
    kind = one.get("response_format") or "json"
    if kind not in FORMATS:
        known = ", ".join(FORMATS)
        raise InvalidRequestError(
            f"response_format {kind[:20]!r}: one of {known}", "response_format"
        )
    stream = _boolean(one.get("stream", "false"), "stream")
    if stream and kind not in ("json", "text"):
        raise InvalidRequestError("stream: events are of json or text alone", "stream")
    return TranscriptionRequest(
        model=one.get("model", ""),
        format=kind,
        granularities=_granularities(fields, kind),
        stream=stream,
        language=one.get("language") or None,
        options=_options(one),
    )


def render(
    request: TranscriptionRequest, words: Sequence[Word], duration: float
) -> tuple[str, bytes]:
    """The content type and the body that say `words`, found in `duration` seconds of audio."""
    text = " ".join(word.text for word in words)
    if request.format == "text":
        body = text + "\n"
    elif request.format == "srt":
        body = srt(words)
    elif request.format == "vtt":
        body = vtt(words)
    else:
        verbose = request.format == "verbose_json"
        content = _verbose(request, words, duration, text) if verbose else {"text": text}
        body = json.dumps(content | {"usage": _usage(duration)}, ensure_ascii=False)
    return FORMATS[request.format], body.encode()


def delta(word: str, *, first: bool) -> bytes:
    """The event of a word that was found."""
    text = word if first else f" {word}"
    return event({"type": "transcript.text.delta", "delta": text})


def done(text: str, duration: float) -> bytes:
    """The last event: all of the text."""
    return event({"type": "transcript.text.done", "text": text, "usage": _usage(duration)})


def _verbose(
    request: TranscriptionRequest, words: Sequence[Word], duration: float, text: str
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "task": "transcribe",
        "language": request.language or "unknown",
        "duration": round(duration, 3),
        "text": text,
    }
    if "segment" in request.granularities:
        content["segments"] = [
            {
                "id": index,
                "seek": 0,
                "start": round(cue.start, 3),
                "end": round(cue.end, 3),
                "text": cue.text,
                "tokens": [],
                "temperature": request.options.get("temperature", 0.0),
            }
            for index, cue in enumerate(cues(words))
        ]
    if "word" in request.granularities:
        content["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in words
        ]
    return content


def _usage(duration: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(duration)}


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


def _options(one: Mapping[str, str]) -> dict[str, Any]:
    try:
        return read_options(SpeechToTextOptions, one)
    except (ValueError, UsageError) as error:
        message = str(error)
        raise InvalidRequestError(message, message.split()[0]) from None


def _boolean(given: str, name: str) -> bool:
    if given.lower() not in ("true", "false", "1", "0"):
        raise InvalidRequestError(f"{name} {given[:20]!r}: true or false", name)
    return given.lower() in ("true", "1")
