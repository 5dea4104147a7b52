"""Audio in the formats of the Realtime API: samples of 16 bits at 24 kHz, and G.711 at 8 kHz."""

from typing import Any

import numpy as np

from ....runtime.audio import Pcm, Resampler
from ....runtime.audio.pcm import decode, encode

RATES = {"audio/pcm": 24000, "audio/pcmu": 8000, "audio/pcma": 8000}
CODECS = {"audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}
"""Of G.711, by libav's names."""


class InputDecoder:
    """Bytes of one format, cut anywhere, to samples float32 `[n]` at `rate` Hz; `seconds` counts
    them."""

    def __init__(self, kind: str, rate: int) -> None:
        self._context = _codec(kind, "r")
        self._resampler = Resampler(RATES[kind], rate)
        self._rate, self._rest, self._samples = RATES[kind], b"", 0

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    @property
    def bytes_a_second(self) -> int:
        return self._rate * (2 if self._context is None else 1)

    def push(self, data: bytes) -> Pcm:
        """Take more bytes; half of a sample waits for the rest."""
        if self._context is None:
            data = self._rest + data
            whole = len(data) // 2 * 2
            data, self._rest = data[:whole], data[whole:]
        pcm = decode(_decompressed(self._context, data), "s16le")
        self._samples += len(pcm)
        return self._resampler.push(pcm)

    def flush(self) -> Pcm:
        """Return the last samples."""
        return self._resampler.flush()


class OutputEncoder:
    """Samples float32 `[n]` at `rate` Hz to bytes of one format."""

    def __init__(self, kind: str, rate: int) -> None:
        self._context = _codec(kind, "w")
        self._rate = RATES[kind]
        self._resampler = Resampler(rate, self._rate)

    def push(self, pcm: Pcm) -> bytes:
        """Return the bytes of more samples."""
        return self._encoded(self._resampler.push(pcm))

    def flush(self) -> bytes:
        """Return the last bytes."""
        return self._encoded(self._resampler.flush())

    def _encoded(self, pcm: Pcm) -> bytes:
        data = encode(pcm, "s16le")
        if self._context is None or not data:
            return data
        from av import AudioFrame

        samples = np.frombuffer(data, "<i2")[None]
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = self._rate
        return b"".join(map(bytes, self._context.encode(frame)))


def _codec(kind: str, mode: Any) -> Any:
    """Return the context of a codec of G.711, None for samples."""
    if kind not in CODECS:
        return None
    from av import CodecContext

    context: Any = CodecContext.create(CODECS[kind], mode)
    context.sample_rate, context.layout = RATES[kind], "mono"
    if mode == "w":
        context.format = "s16"
    return context


def _decompressed(context: Any, data: bytes) -> bytes:
    if context is None or not data:
        return data
    from av import Packet

    return b"".join(frame.to_ndarray().tobytes() for frame in context.decode(Packet(data)))
