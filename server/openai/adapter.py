"""A stream's events to the answers of OpenAI's endpoints: transcripts in every format, and the
events of those that are streamed."""

import base64
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from ...models.events import Pause, Word, WordStarted
from ...models.text.subtitles import cues, srt, vtt
from .messages import TRANSCRIPT_TYPES, TranscriptionRequest, event

LEAST = 1e-6
"""The smallest probability that a logarithm is taken of."""


def render_transcript(
    request: TranscriptionRequest, events: Sequence[Word | Pause], duration: float
) -> tuple[str, bytes]:
    """The content type and the body that say the words, found in `duration` seconds of audio."""
    words = [event for event in events if isinstance(event, Word)]
    text = " ".join(word.text for word in words)
    if request.format == "text":
        body = text + "\n"
    elif request.format == "srt":
        body = srt(events)
    elif request.format == "vtt":
        body = vtt(events)
    else:
        verbose = request.format == "verbose_json"
        content = _verbose(request, events, duration, text) if verbose else {"text": text}
        content |= {"logprobs": logprobs(words)} if request.logprobs else {}
        body = json.dumps(content | {"usage": _usage(duration)}, ensure_ascii=False)
    return TRANSCRIPT_TYPES[request.format], body.encode()


def transcript_delta(word: Word, *, first: bool) -> bytes:
    """The event of a word that was found, with its times, which OpenAI's has not."""
    text = word.text if first else f" {word.text}"
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return event({"type": "transcript.text.delta", "delta": text, **times})


def transcript_done(words: Sequence[Word], duration: float, *, with_logprobs: bool) -> bytes:
    """The last event: all of the text."""
    text = " ".join(word.text for word in words)
    content: dict[str, Any] = {"type": "transcript.text.done", "text": text}
    content |= {"logprobs": logprobs(words)} if with_logprobs else {}
    return event(content | {"usage": _usage(duration)})


def logprobs(words: Sequence[Word | WordStarted]) -> list[dict[str, Any]]:
    """The logarithm of the probability of each word, which stands for a token here."""
    tokens = [word.text if index == 0 else f" {word.text}" for index, word in enumerate(words)]
    return [
        {"token": token, "bytes": list(token.encode()), "logprob": round(_logprob(word), 4)}
        for token, word in zip(tokens, words, strict=True)
    ]


def _logprob(word: Word | WordStarted) -> float:
    return 0.0 if word.confidence is None else math.log(max(word.confidence, LEAST))


def audio_delta(data: bytes) -> bytes:
    """The event of a piece of speech."""
    return event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def audio_done(words: int, frames: int) -> bytes:
    """The last event; tokens are counted as words read and frames spoken."""
    usage = {"input_tokens": words, "output_tokens": frames, "total_tokens": words + frames}
    return event({"type": "speech.audio.done", "usage": usage})


def _verbose(
    request: TranscriptionRequest, events: Sequence[Word | Pause], duration: float, text: str
) -> dict[str, Any]:
    words = [event for event in events if isinstance(event, Word)]
    content: dict[str, Any] = {
        "task": request.task,
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
                **_quality(cue.text, [word for word in words if cue.start <= word.start < cue.end]),
            }
            for index, cue in enumerate(cues(events))
        ]
    if "word" in request.granularities:
        content["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in words
        ]
    return content


def _quality(text: str, words: Sequence[Word]) -> dict[str, float]:
    """How good a segment is: the mean logarithm of its words' probabilities, the chance that none
    of them was spoken, and how much its text repeats itself: bytes for each byte of zlib."""
    data = text.encode()
    chances = [1.0 if word.confidence is None else word.confidence for word in words]
    return {
        "avg_logprob": round(sum(map(_logprob, words)) / max(1, len(words)), 4),
        "no_speech_prob": round(1 - max(chances, default=0.0), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
    }


def _usage(duration: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(duration)}
