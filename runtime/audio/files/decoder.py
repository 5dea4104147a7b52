"""Decoders turn a byte source into samples: their protocol, and the decoder of linear PCM."""

from dataclasses import dataclass
from typing import Protocol

from ...errors import AudioError
from ..pcm import Pcm, RawFormat, decode
from .source import ByteSource
from .wav import SUBTYPES, WavHeader, is_chunk_id

_SLACK_BYTES = 64  # writers that count their header as data


@dataclass(frozen=True)
class AudioInfo:
    """Rate in Hz, channels, and length in samples per channel (None if only the end tells)."""

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    """Container and encoding, for example "WAV PCM_16" or "OGG OPUS"."""

    @property
    def duration(self) -> float | None:
        """Length in seconds; None if unknown."""
        return None if self.frames is None else self.frames / self.sample_rate


class Decoder(Protocol):
    """Samples of one source, in order."""

    name: str
    info: AudioInfo

    def read(self, frames: int) -> Pcm:
        """Up to `frames` samples of every channel [n, channels]; n = 0 is the end.

        Raises AudioError at damage, once everything before it has been returned.
        """

    def close(self) -> None:
        """Release the source."""


class PcmDecoder:
    """Linear PCM, headerless or after a WAV header; gives what has arrived without waiting."""

    def __init__(self, source: ByteSource, raw: RawFormat, header: WavHeader | None = None) -> None:
        self.name = source.name
        self._source = source
        self._raw = raw
        self._rest = b""
        self._given = 0
        self._declared = header.data_bytes if header else None
        self._unread = self._declared
        self.info = AudioInfo(raw.sample_rate, raw.channels, self._frames(), _label(raw, header))

    def read(self, frames: int) -> Pcm:
        """See `Decoder.read`; an incomplete last frame is dropped."""
        width = self._raw.frame_bytes
        data = self._rest
        while len(data) < width and (more := self._take(frames * width - len(data))):
            data += more
        whole = len(data) // width * width
        self._rest = data[whole:]
        self._given += whole
        if not whole:
            self._check_complete()
        return decode(data[:whole], self._raw.encoding).reshape(-1, self._raw.channels)

    def close(self) -> None:
        """Release the source."""
        self._source.close()

    def _take(self, count: int) -> bytes:
        if self._unread == 0:
            self._unread = self._past_declared()
        if self._unread is not None:
            count = min(count, self._unread)
        data = self._source.read_some(count) if count else b""
        if self._unread is not None:
            self._unread -= len(data)
        return data

    def _past_declared(self) -> int | None:
        """0 if the data ends where its header says; None if samples go on, whatever it says."""
        pad = (self._declared or 0) & 1
        tail = self._source.read_exactly(4 + pad)
        self._source.unread(tail)
        ends = len(tail) < 4 or is_chunk_id(tail[:4]) or is_chunk_id(tail[pad:])
        return 0 if ends else None

    def _frames(self) -> int | None:
        size = self._source.size()
        if size is None:
            return None if self._declared is None else self._declared // self._raw.frame_bytes
        there = size - self._source.position()
        known = there if self._declared is None else min(there, self._declared)
        return known // self._raw.frame_bytes

    def _check_complete(self) -> None:
        """A file that holds less than it declares was cut; a pipe may end whenever it likes."""
        if self._declared is None or not self._source.whole:
            return
        if self._given + _SLACK_BYTES < self._declared:
            byte_rate = self._raw.frame_bytes * self._raw.sample_rate
            raise cut_short(self.name, self._given / byte_rate, self._declared / byte_rate)


def cut_short(name: str, there: float, declared: float) -> AudioError:
    """The error for a source that ends after `there` of its `declared` seconds."""
    return AudioError(
        f"{name} is cut short or damaged: {there:.3f} s of its {declared:.3f} s could be read; "
        "copy or download it again"
    )


def _label(raw: RawFormat, header: WavHeader | None) -> str:
    names = {encoding: subtype for subtype, encoding in SUBTYPES.items()}
    return f"WAV {names[raw.encoding]}" if header else f"raw {raw.encoding}"
