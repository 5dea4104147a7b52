"""Speech in the formats that clients ask for, written as it is made."""

import contextlib
import io
import itertools
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from ...runtime.audio import Pcm, RawFormat
from ...runtime.audio.files.wav import build_header
from ...runtime.audio.pcm import encode
from .ogg_opus import OpusEncoder

LEAST_TEMPO = 0.5
"""Of FFmpeg's filter; slower speech passes two of them."""


class SpeechEncoder(Protocol):
    """Samples float32 `[n]` in, bytes out, as they come."""

    def push(self, pcm: Pcm) -> bytes: ...
    def end(self) -> bytes: ...


def speech_encoder(kind: str, sample_rate: int) -> SpeechEncoder:
    """Return what writes `pcm`, `wav`, `opus` (at `ogg_opus.SAMPLE_RATE`) or one of `CODECS`."""
    if kind == "pcm":
        return PcmEncoder()
    if kind == "wav":
        return WavEncoder(sample_rate)
    return OpusEncoder(for_players=True) if kind == "opus" else CodecEncoder(kind, sample_rate)


class Tempo:
    """Speech made faster or slower at the same pitch, by a `speed` from 0.25 to 4."""

    def __init__(self, speed: float, sample_rate: int) -> None:
        from av.filter import Graph

        self._rate, self._given, graph = sample_rate, 0, Graph()
        source = graph.add_abuffer(
            sample_rate=sample_rate,
            format="fltp",
            layout="mono",
            time_base=Fraction(1, sample_rate),
        )
        steps = [speed] if speed >= LEAST_TEMPO else [LEAST_TEMPO, speed / LEAST_TEMPO]
        filters = [graph.add("atempo", str(step)) for step in steps]
        chain = [source, *filters, graph.add("abuffersink")]
        for one, other in itertools.pairwise(chain):
            one.link_to(other)
        graph.configure()
        self._graph = graph

    def push(self, pcm: Pcm) -> Pcm:
        """Take samples and return those that are ready."""
        from av import AudioFrame

        if not len(pcm):
            return pcm
        frame = AudioFrame.from_ndarray(pcm[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            self._rate,
            self._given,
            Fraction(1, self._rate),
        )
        self._given += len(pcm)
        self._graph.push(frame)
        return self._pull()

    def end(self) -> Pcm:
        """Return the last samples."""
        if self._given:
            self._graph.push(None)
        return self._pull()

    def _pull(self) -> Pcm:
        parts = [np.empty(0, np.float32)]
        with contextlib.suppress(BlockingIOError, EOFError):
            while True:
                frame = self._graph.pull()
                parts.append(frame.to_ndarray().reshape(-1).astype(np.float32))
        return np.concatenate(parts)


class PcmEncoder:
    """Samples of 16 bits, the lower byte first."""

    def push(self, pcm: Pcm) -> bytes:
        return encode(pcm, "s16le")

    def end(self) -> bytes:
        return b""


class WavEncoder(PcmEncoder):
    """The same after a WAV header that leaves the length open."""

    def __init__(self, sample_rate: int) -> None:
        self._header = build_header(RawFormat(sample_rate))

    def push(self, pcm: Pcm) -> bytes:
        header, self._header = self._header, b""
        return header + super().push(pcm)

    def end(self) -> bytes:
        header, self._header = self._header, b""
        return header


CODECS = {
    "mp3": ("mp3", "libmp3lame", "fltp", {"write_xing": "0"}),
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

        if not len(pcm):  # libav refuses an empty frame
            return b""
        whole = self._samples == "s16"
        samples = np.frombuffer(encode(pcm, "s16le"), "<i2") if whole else pcm
        frame = AudioFrame.from_ndarray(samples[None], format=self._samples, layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._given
        self._given += len(pcm)
        self._container.mux(self._stream.encode(frame))
        return self._written.take()

    def end(self) -> bytes:
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
