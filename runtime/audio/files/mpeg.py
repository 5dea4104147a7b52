"""How long an MP3 is: its frames counted, and a length header for files that lack a true one.

libsndfile believes the Xing header of an MP3, or guesses from the first frame's bit rate, and
reads no further than that: of a variable-rate file without one, or of joined files, the rest
would be lost in silence. Layer III only; layers I and II keep one bit rate.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

_BIT_RATES = {  # kbit/s by index 1 to 14, ISO 11172-3 and 13818-3
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG1 = 3
_RESYNC_BYTES = 1024  # what mpg123 skips before it gives up
_TOLERANCE_FRAMES = 4


@dataclass(frozen=True)
class MpegFrame:
    """A layer III frame header, its size in bytes and the samples it stands for."""

    header: bytes
    size: int
    samples: int

    @property
    def kind(self) -> tuple[int, int]:
        """What all frames of a stream share: version and layer, sample rate."""
        return self.header[1] & 0xFE, self.header[2] & 0x0C


@dataclass(frozen=True)
class MpegScan:
    """Where the audio starts, how many frames there are, how many a length header declares."""

    first: MpegFrame
    start: int
    frames: int
    declared: int | None

    @property
    def misdeclared(self) -> bool:
        """Whether there is more audio than a decoder that trusts the header would read."""
        return self.declared is None or self.declared + _TOLERANCE_FRAMES < self.frames

    def length_header(self) -> bytes:
        """A Xing frame that declares the frames counted, to stand before `start`."""
        one, two, three, four = self.first.header
        largest = bytes((one, two | 1, 0xE0 | three & 0x0C, four))
        frame = parse_frame(largest)
        assert frame
        body = bytes(_side_info_bytes(frame)) + b"Xing" + struct.pack(">II", 1, self.frames)
        return (largest + body).ljust(frame.size, b"\0")


def parse_frame(header: bytes) -> MpegFrame | None:
    """The layer III frame that these four bytes begin; None if there is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate_index = header[1] >> 3 & 3, header[2] >> 2 & 3
    bit_rate_index = header[2] >> 4
    if version == 1 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    samples = 1152 if version == _MPEG1 else 576
    bit_rate = 1000 * _BIT_RATES[3 if version == _MPEG1 else 2][bit_rate_index - 1]
    padding = header[2] >> 1 & 1
    size = samples // 8 * bit_rate // _SAMPLE_RATES[version][rate_index] + padding
    return MpegFrame(header, size, samples)


def looks_like_mpeg(head: bytes) -> bool:
    """Whether a file that starts so may reach the MPEG decoder: a tag or a frame's sync word."""
    return head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")


def scan(stream: BinaryIO) -> MpegScan | None:
    """Walk the frames of a whole file in constant memory; None if it has no frames."""
    found = _next_frame(stream, 0, None)
    if not found or not _is_followed(stream, *found):
        return None
    position, first = found
    start, declared = position, _declared_frames(stream, position, first)
    if declared is not None:
        start = position + first.size
        found = _next_frame(stream, start, first.kind)
    count = 0
    while found:
        position, frame = found
        count += 1
        found = _next_frame(stream, position + frame.size, first.kind)
    return MpegScan(first, start, count, declared)


def _next_frame(
    stream: BinaryIO, position: int, kind: tuple[int, int] | None
) -> tuple[int, MpegFrame] | None:
    """The frame at `position`, or the next one past tags and a little damage."""
    stream.seek(position)
    head = stream.read(10)
    while head[:3] == b"ID3" and len(head) == 10:
        position += _id3_bytes(head)
        stream.seek(position)
        head = stream.read(10)
    if (frame := parse_frame(head[:4])) and kind in (None, frame.kind):
        return position, frame
    return _resync(position, head + stream.read(_RESYNC_BYTES), kind)


def _is_followed(stream: BinaryIO, position: int, frame: MpegFrame) -> bool:
    """Whether another frame of its kind, or the end, comes after: four bytes alone prove little."""
    stream.seek(position + frame.size)
    after = stream.read(4)
    follower = parse_frame(after)
    return (
        not after or after[:3] == b"TAG" or (follower is not None and follower.kind == frame.kind)
    )


def _resync(
    position: int, data: bytes, kind: tuple[int, int] | None
) -> tuple[int, MpegFrame] | None:
    if data[:3] == b"TAG" or data[:8] == b"APETAGEX":
        return None
    for offset in range(len(data) - 3):
        frame = parse_frame(data[offset : offset + 4])
        if frame and kind in (None, frame.kind):
            return position + offset, frame
    return None


def _id3_bytes(head: bytes) -> int:
    """Size of the ID3v2 tag that begins so, its header and footer included."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (20 if head[5] & 0x10 else 10)


def _declared_frames(stream: BinaryIO, position: int, frame: MpegFrame) -> int | None:
    """Frames that a Xing, Info or VBRI header in the first frame declares."""
    stream.seek(position)
    data = stream.read(frame.size)
    offset = 4 + _side_info_bytes(frame)
    if data[offset : offset + 4] in (b"Xing", b"Info") and len(data) >= offset + 12:
        flags, frames = struct.unpack(">II", data[offset + 4 : offset + 12])
        return int(frames) if flags & 1 and frames else None
    if data[36:40] == b"VBRI" and len(data) >= 54:
        return int(struct.unpack(">I", data[50:54])[0])
    return None


def _side_info_bytes(frame: MpegFrame) -> int:
    mono = frame.header[3] >> 6 == 3
    if frame.header[1] >> 3 & 3 == _MPEG1:
        return 17 if mono else 32
    return 9 if mono else 17
