"""Between Wyoming's events and a stream: audio and texts in, the stream's events out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Eventable
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from ...models import events
from ...runtime.audio import Encoding, Pcm, Resampler
from ...runtime.audio.pcm import decode, encode
from ..wire import ProtocolError

_ENCODINGS: dict[int, Encoding] = {1: "u8", 2: "s16le", 3: "s24le", 4: "s32le"}


class ChunkDecoder:
    """Chunks of one recording to mono samples at `rate` Hz."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._source: tuple[int, int, int] | None = None
        self._resampler = Resampler(rate, rate)

    def push(self, chunk: AudioChunk) -> Pcm:
        """float32 `[n]`: the mean of the channels, resampled.

        Raises ProtocolError if the format is not that of the chunks before.
        """
        source = chunk.rate, chunk.width, chunk.channels
        if self._source is None:
            self._source, self._resampler = source, Resampler(chunk.rate, self._rate)
        elif source != self._source:
            raise ProtocolError("a chunk of audio in another format than those before it")
        samples = decode(chunk.audio, _ENCODINGS[chunk.width]).reshape(-1, chunk.channels)
        return self._resampler.push(samples.mean(axis=1, dtype=np.float32))

    def flush(self) -> Pcm:
        """The last samples; the next chunk begins another recording."""
        self._source = None
        return self._resampler.flush()


def pieces(chunk: AudioChunk) -> Iterator[AudioChunk]:
    """The audio of a chunk in chunks of at most a second."""
    size = chunk.rate * chunk.width * chunk.channels
    for start in range(0, len(chunk.audio), size):
        yield replace(chunk, audio=chunk.audio[start : start + size])


def decoded_size(chunk: AudioChunk) -> int:
    """Bytes of its samples as float32, at its own rate."""
    return np.dtype(np.float32).itemsize * (len(chunk.audio) // chunk.width)


class TranscriptAdapter:
    """A stream's events to those of one transcript, piece by piece if it is `streaming`."""

    def __init__(self, *, streaming: bool) -> None:
        self._streaming = streaming
        self._words: list[str] = []

    def report(self, event: events.Event) -> list[Eventable]:
        """Return the events for an event of the stream."""
        if not isinstance(event, events.Word):
            return []
        self._words.append(event.text)
        if not self._streaming:
            return []
        if len(self._words) == 1:
            return [TranscriptStart(), TranscriptChunk(event.text)]
        return [TranscriptChunk(f" {event.text}")]

    def end(self) -> list[Eventable]:
        """Return the last events, once the stream has ended."""
        whole = Transcript(" ".join(self._words))
        if not self._streaming:
            return [whole]
        begun = [] if self._words else [TranscriptStart()]
        return [*begun, whole, TranscriptStop()]


class SpeechAdapter:
    """A stream's events to those of one speech; `streaming` if its text came in pieces."""

    def __init__(self, rate: int, *, streaming: bool) -> None:
        self._rate, self._streaming = rate, streaming
        self._begun = False

    def report(self, event: events.Event) -> list[Eventable]:
        """Return the events for an event of the stream."""
        if not isinstance(event, events.Audio):
            return []
        chunk = AudioChunk(self._rate, 2, 1, encode(event.pcm, "s16le"))
        return [*self._begin(), chunk]

    def end(self) -> list[Eventable]:
        """Return the last events, once the stream has ended."""
        stopped = [SynthesizeStopped()] if self._streaming else []
        return [*self._begin(), AudioStop(), *stopped]

    def _begin(self) -> list[Eventable]:
        if self._begun:
            return []
        self._begun = True
        return [AudioStart(self._rate, 2, 1)]


@dataclass(frozen=True)
class TextStart:
    """A text follows, to be spoken by a voice."""

    voice: SynthesizeVoice | None
    streaming: bool


@dataclass(frozen=True)
class TextPiece:
    text: str


@dataclass(frozen=True)
class TextEnd:
    """The text is complete."""


class TextRequests:
    """The texts of a client, whole or in pieces, as one kind of request."""

    def __init__(self) -> None:
        self._streaming = False

    def read(self, message: Eventable) -> list[TextStart | TextPiece | TextEnd]:
        """Return what an event asks for, nothing if it is no such request.

        The whole text within a stream is left out: it repeats the pieces. Raises ProtocolError for
        a piece outside of one.
        """
        match message:
            case Synthesize(text, voice) if not self._streaming:
                return [TextStart(voice, streaming=False), TextPiece(text), TextEnd()]
            case SynthesizeStart(voice):
                self._check(streaming=False)
                self._streaming = True
                return [TextStart(voice, streaming=True)]
            case SynthesizeChunk(text):
                self._check(streaming=True)
                return [TextPiece(text)]
            case SynthesizeStop():
                self._check(streaming=True)
                self._streaming = False
                return [TextEnd()]
        return []

    def _check(self, *, streaming: bool) -> None:
        if self._streaming != streaming:
            raise ProtocolError("a piece of a text without a start, or a text within another")
