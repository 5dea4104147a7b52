"""OpenAI's `/v1/audio/speech`: what is asked for, and speech in every format of it."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...models.options import PARAMETERS
from ...runtime.audio import Pcm, RawFormat
from ...runtime.audio.files.wav import build_header
from ...runtime.audio.pcm import encode
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
EXTRA = ("padding_bonus", "temperature", "cfg_coef", "seed")
"""Numbers of ours that a request may bring besides OpenAI's fields."""


@dataclass(frozen=True)
class SpeechRequest:
    """The fields of a request; `extra` are our own numbers, as `SpeechOptions` names them."""

    model: str
    text: str
    voice: str | None
    format: str
    stream_format: str
    extra: dict[str, Any]


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
        extra=_extra(content),
    )


class SpeechEncoder(Protocol):
    """Samples float32 `[n]` in, bytes out, as they come."""

    def push(self, pcm: Pcm) -> bytes: ...
    def finish(self) -> bytes: ...


def speech_encoder(kind: str, sample_rate: int) -> SpeechEncoder:
    """What writes one of the formats."""
    if kind == "pcm":
        return PcmEncoder()
    if kind == "wav":
        return WavEncoder(sample_rate)
    return CodecEncoder(kind, sample_rate)


class PcmEncoder:
    """Samples of 16 bits, the lower byte first."""

    def push(self, pcm: Pcm) -> bytes:
        return encode(pcm, "s16le")

    def finish(self) -> bytes:
        return b""


class WavEncoder(PcmEncoder):
    """The same after a WAV header that leaves the length open."""

    def __init__(self, sample_rate: int) -> None:
        self._header = build_header(RawFormat(sample_rate))

    def push(self, pcm: Pcm) -> bytes:
        header, self._header = self._header, b""
        return header + super().push(pcm)

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header


CODECS = {
    "mp3": ("mp3", "libmp3lame", "fltp", {"write_xing": "0"}),
    "opus": ("ogg", "libopus", "flt", {"page_duration": "80000"}),
    "aac": ("adts", "aac", "fltp", {}),
    "flac": ("flac", "flac", "s16", {}),
}
"""Of each format the container, the codec, its samples and the container's options."""


class CodecEncoder:
    """A format that libav writes."""

    def __init__(self, kind: str, sample_rate: int) -> None:
        import av

        container, codec, self._samples, options = CODECS[kind]
        self._written, self._rate, self._given = Written(), sample_rate, 0
        self._container = av.open(self._written, "w", format=container, container_options=options)
        stream = self._container.add_stream(codec, rate=sample_rate)
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.layout = "mono"
        self._stream.format = self._samples
        self._container.start_encoding()

    def push(self, pcm: Pcm) -> bytes:
        from av import AudioFrame

        whole = self._samples == "s16"
        samples = np.frombuffer(encode(pcm, "s16le"), "<i2") if whole else pcm
        frame = AudioFrame.from_ndarray(samples[None], format=self._samples, layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._given
        self._given += len(pcm)
        self._container.mux(self._stream.encode(frame))
        return self._written.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._written.take()


class Written(io.RawIOBase):
    """Takes what is written, and has no way back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """All that was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


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


def _extra(content: Mapping[str, Any]) -> dict[str, Any]:
    extra = {name: content[name] for name in EXTRA if content.get(name) is not None}
    for name, value in extra.items():
        if not PARAMETERS[name].has(value):
            raise InvalidRequestError(f"{name}: {PARAMETERS[name]}", name)
    return extra


def _text(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{name}: a text", name)
    return value
