"""Audio in the formats of the Realtime API: samples of 16 bits at 24 kHz, and G.711 at 8 kHz."""

from collections.abc import Mapping

from ....runtime.audio import Encoding, Pcm, Resampler
from ....runtime.audio.pcm import SAMPLE_BYTES, decode, encode

FORMATS: Mapping[str, tuple[Encoding, int]] = {
    "audio/pcm": ("s16le", 24000),
    "audio/pcmu": ("mulaw", 8000),
    "audio/pcma": ("alaw", 8000),
}
"""Of each format the encoding of its samples, and their rate."""


class InputDecoder:
    """Bytes of one format, cut anywhere, to samples float32 `[n]` at `rate` Hz; `seconds` counts
    them."""

    def __init__(self, kind: str, rate: int) -> None:
        self._encoding, self._rate = FORMATS[kind]
        self._resampler = Resampler(self._rate, rate)
        self._rest, self._samples = b"", 0

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    @property
    def bytes_a_second(self) -> int:
        return self._rate * SAMPLE_BYTES[self._encoding]

    def push(self, data: bytes) -> Pcm:
        """Take more bytes; half of a sample waits for the rest."""
        data, size = self._rest + data, SAMPLE_BYTES[self._encoding]
        whole = len(data) // size * size
        data, self._rest = data[:whole], data[whole:]
        pcm = decode(data, self._encoding)
        self._samples += len(pcm)
        return self._resampler.push(pcm)

    def flush(self) -> Pcm:
        """Return the last samples."""
        return self._resampler.flush()


class OutputEncoder:
    """Samples float32 `[n]` at `rate` Hz to bytes of one format."""

    def __init__(self, kind: str, rate: int) -> None:
        self._encoding, own = FORMATS[kind]
        self._resampler = Resampler(rate, own)

    def push(self, pcm: Pcm) -> bytes:
        """Return the bytes of more samples."""
        return encode(self._resampler.push(pcm), self._encoding)

    def flush(self) -> bytes:
        """Return the last bytes."""
        return encode(self._resampler.flush(), self._encoding)
