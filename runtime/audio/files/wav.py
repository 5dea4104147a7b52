"""Linear PCM, headerless or as WAV: decoded as it arrives, and its RIFF/WAVE header.

Sizes in a header that was written to a pipe are placeholders; `data_bytes` is None there.
"""

import struct
from dataclasses import dataclass

from ..pcm import SAMPLE_BYTES, Encoding, Pcm, RawFormat, decode
from .source import AudioInfo, ByteSource, cut_short

SUBTYPES: dict[str, Encoding] = {
    "PCM_U8": "u8",
    "PCM_16": "s16le",
    "PCM_24": "s24le",
    "PCM_32": "s32le",
    "FLOAT": "f32le",
    "DOUBLE": "f64le",
}

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (_PCM, 1): "u8",
    (_PCM, 2): "s16le",
    (_PCM, 3): "s24le",
    (_PCM, 4): "s32le",
    (_FLOAT, 4): "f32le",
    (_FLOAT, 8): "f64le",
}
RIFF = (b"RIFF", b"RF64", b"BW64")
"""How a WAV file begins."""
_UNKNOWN = 0xFFFFFFFF
_PLACEHOLDERS = (range(0x7FFF0000, 0x80010000), range(0xFFFF0000, 1 << 32))  # sox, arecord; ffmpeg
_LARGEST_CHUNK = 1 << 26
_SLACK_BYTES = 64  # writers that count their header as data


@dataclass(frozen=True)
class WavHeader:
    """Format of the samples that follow, and how many bytes of them, if the header can know."""

    format: RawFormat
    data_bytes: int | None


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


def _label(raw: RawFormat, header: WavHeader | None) -> str:
    names = {encoding: subtype for subtype, encoding in SUBTYPES.items()}
    return f"WAV {names[raw.encoding]}" if header else f"raw {raw.encoding}"


def read_header(source: ByteSource) -> WavHeader | None:
    """Read up to the first sample; None, with nothing consumed, if it is not linear PCM WAV."""
    start = source.read_exactly(12)
    consumed = [start]
    header = None
    if start[:4] in RIFF and start[8:] == b"WAVE":
        header = _read_chunks(source, consumed)
    if header is None:
        source.unread(b"".join(consumed))
    return header


def is_chunk_id(data: bytes) -> bool:
    """Whether four bytes can name a chunk, as what follows the data does in a truthful header."""
    return len(data) == 4 and all(0x20 <= byte < 0x7F for byte in data)


def build_header(raw: RawFormat, data_bytes: int | None = None) -> bytes:
    """The 44 bytes before the samples; without `data_bytes`, or past 4 GiB, sizes are unknown."""
    if data_bytes is None or data_bytes > _UNKNOWN - 64:
        riff_bytes = data_bytes = _UNKNOWN
    else:
        riff_bytes = 36 + data_bytes + (data_bytes & 1)
    sample_bytes = SAMPLE_BYTES[raw.encoding]
    tag = _FLOAT if raw.encoding in ("f32le", "f64le") else _PCM
    layout = struct.pack(
        "<HHIIHH",
        tag,
        raw.channels,
        raw.sample_rate,
        raw.sample_rate * raw.frame_bytes,
        raw.frame_bytes,
        8 * sample_bytes,
    )
    return b"".join(
        (
            struct.pack("<4sI4s4sI", b"RIFF", riff_bytes, b"WAVE", b"fmt ", len(layout)),
            layout,
            struct.pack("<4sI", b"data", data_bytes),
        )
    )


def _read_chunks(source: ByteSource, consumed: list[bytes]) -> WavHeader | None:
    raw, long_size = None, None
    while len(head := source.read_exactly(8)) == 8:
        consumed.append(head)
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            riff_bytes = struct.unpack("<I", consumed[0][4:8])[0]
            offset = sum(map(len, consumed))
            declared = size if long_size is None else long_size
            return WavHeader(raw, _believed(declared, offset, riff_bytes, source)) if raw else None
        if size > _LARGEST_CHUNK:
            return None
        body = source.read_exactly(size + (size & 1))
        consumed.append(body)
        if len(body) < size:
            return None
        if name == b"fmt ":
            raw = _parse_format(body)
        elif name == b"ds64" and size >= 16:
            long_size = struct.unpack("<Q", body[8:16])[0] or None
    consumed.append(head)
    return None


def _parse_format(body: bytes) -> RawFormat | None:
    if len(body) < 16:
        return None
    tag, channels, sample_rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack("<H", body[24:26])[0]
    sample_bytes = (bits + 7) // 8
    encoding = _ENCODINGS.get((tag, sample_bytes))
    if not encoding or not channels or not sample_rate or frame_bytes != channels * sample_bytes:
        return None
    return RawFormat(sample_rate, encoding, channels)


def _believed(data_bytes: int, offset: int, riff_bytes: int, source: ByteSource) -> int | None:
    """The data size, unless it is a placeholder; 0 is true only if chunks are claimed after it."""
    size = source.size()
    if data_bytes == 0:
        return 0 if offset < riff_bytes + 8 and not _is_placeholder(riff_bytes) else None
    if size is not None and offset + data_bytes <= size:
        return data_bytes
    return None if _is_placeholder(data_bytes) else data_bytes


def _is_placeholder(size: int) -> bool:
    return any(size in sizes for sizes in _PLACEHOLDERS)
