"""Everything that libsndfile decodes: FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF and the rest.

libsndfile believes the Xing header of an MP3, or guesses from the first frame's bit rate, and
reads no further than that: of a variable-rate file without one, or of joined files, the rest
would be lost in silence. So the frames of an MP3 are counted first, and one without a true length
header gets one. Layer III only; layers I and II keep one bit rate.
"""

import io
import os
import re
import struct
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ...errors import AudioError
from ..pcm import Pcm
from ..stderr_filter import captured_stderr
from .source import AudioInfo, ByteSource, conversion, cut_short, read_failure

_UNKNOWN_FRAMES = 1 << 62
_SLACK_SECONDS = 0.1  # encoder delay and padding, which headers count or do not
_SLACK_BYTES = 64
_SIZE_DENIED = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_LARGEST_SIZE_BELIEVED = 0x7FFF0000
_LARGEST_PAGE = 65307
_HEADER_BYTES = 27
_LAST_PAGE = 0x04
_MPG123_PREFIXES = (b"Note: ", b"Warning: ", b"[src/libmpg123", b"\n")
"""How the lines begin that libmpg123, inside libsndfile, writes to standard error."""
_PLAINER = {
    "File does not exist or is not a regular file (possibly a pipe?)": "no MP3 frame in it",
    "Unspecified internal error": "the MP3 decoder lost its place",
}

_BIT_RATES = {  # kbit/s by index 1 to 14, ISO 11172-3 and 13818-3
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG1 = 3
_RESYNC_BYTES = 1024  # what mpg123 skips before it gives up
_TOLERANCE_FRAMES = 4


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Without soundfile's seek after every read, which makes the MP3 decoder start over."""

    def seekable(self) -> bool:
        return False


class VirtualFile:
    """A seekable stream from `start` on, behind `prefix`, as libsndfile's virtual I/O reads it.

    Its methods run in C callbacks, where an exception would be printed and lost: the first one
    is kept for `check`.
    """

    def __init__(self, stream: BinaryIO, start: int = 0, prefix: bytes = b"") -> None:
        self._stream = stream
        self._start = start
        self._prefix = prefix
        self._position = 0
        self._size = len(prefix) + stream.seek(0, io.SEEK_END) - start
        self._error: BaseException | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` with the next bytes; returns how many there were."""
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, count: int) -> bytes:
        head = self._prefix[self._position : self._position + count]
        inside = max(self._position - len(self._prefix), 0)
        try:
            self._stream.seek(self._start + inside)
            data = head + self._stream.read(count - len(head))
        except BaseException as error:
            self._error = self._error or error
            return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Bytes before the next one."""
        return self._position

    def check(self) -> None:
        """Raise what a callback could not."""
        if self._error:
            raise self._error


class SndfileDecoder:
    """See `Decoder`; takes a whole source and closes it. Raises AudioError if nothing opens it."""

    def __init__(self, source: ByteSource) -> None:
        self.name = source.name
        self._source = source
        self._given = 0
        self._failure: AudioError | None = None
        head = source.read_exactly(4)
        named_mp3 = source.path is not None and source.path.suffix.lower() == ".mp3"
        self._mpeg, self._ogg = looks_like_mpeg(head) or named_mp3, head == b"OggS"
        source.rewind()
        self._virtual = self._virtual_file()
        self._file = self._open()
        frames = self._file.frames if self._file.frames < _UNKNOWN_FRAMES else None
        label = f"{self._file.format} {self._file.subtype}"
        self.info = AudioInfo(self._file.samplerate, self._file.channels, frames, label)

    def read(self, frames: int) -> Pcm:
        """See `Decoder.read`."""
        if self._failure:
            raise self._failure
        block = self._decode(frames)
        self._given += len(block)
        if not len(block):
            self._check_complete()
        return block

    def close(self) -> None:
        """Release the source."""
        self._file.close()
        self._source.close()

    def _virtual_file(self) -> VirtualFile | None:
        """None if libsndfile may open the path itself."""
        stream = self._source.stream
        mpeg = scan_mpeg(stream) if self._mpeg else None
        if mpeg and mpeg.misdeclared:
            return VirtualFile(stream, mpeg.start, mpeg.length_header())
        return None if self._source.path else VirtualFile(stream)

    def _open(self) -> Any:
        target: object = self._virtual
        if self._source.path and not self._virtual:
            path = self._source.path
            target = os.fsencode(path) if os.name == "posix" else str(path)
        try:
            with self._quiet():
                return _Sequential(target)
        except soundfile.LibsndfileError as error:
            self._check_virtual()
            raise AudioError(
                f"{self.name} is not audio that can be read here ({_words(error)}); "
                f"if it plays elsewhere, convert it: {conversion(self._source.path)}"
            ) from error

    def _decode(self, frames: int) -> Pcm:
        # If the decoder fails, the samples before that are in the block, uncounted.
        block = np.full((frames, self.info.channels), np.nan, np.float32)
        try:
            with self._quiet():
                block = self._file.read(frames, out=block)
        except soundfile.LibsndfileError as error:
            undecoded = np.isnan(block[:, 0])
            block = block[: int(undecoded.argmax()) if undecoded.any() else frames]
            self._failure = self._damage(error, self._given + len(block))
        self._check_virtual()
        return block

    def _check_complete(self) -> None:
        if self._failure:
            raise self._failure
        rate = self.info.sample_rate
        declared = _declared_frames(self._file)
        if declared and self._given + _SLACK_SECONDS * rate < declared:
            raise cut_short(self.name, self._given / rate, declared / rate)
        if self._ogg and not is_complete_ogg(self._source.stream):
            raise AudioError(
                f"{self.name} is cut short or damaged: it ends at {self._given / rate:.3f} s "
                "without a last page; copy or download it again"
            )

    def _damage(self, error: soundfile.LibsndfileError, decoded: int) -> AudioError:
        return AudioError(
            f"{self.name} is damaged at {decoded / self.info.sample_rate:.3f} s "
            f"({_words(error)}): what precedes was read; copy or download it again"
        )

    def _check_virtual(self) -> None:
        try:
            if self._virtual:
                self._virtual.check()
        except (OSError, ValueError) as error:
            raise read_failure(self.name, error) from error

    def _quiet(self) -> AbstractContextManager[None]:
        return captured_stderr(_MPG123_PREFIXES) if self._mpeg else nullcontext()


def _declared_frames(file: soundfile.SoundFile) -> float | None:
    """The length that the header claims; libsndfile itself shortens it to what is there."""
    if file.frames >= _UNKNOWN_FRAMES:
        return None
    for declared, there in _SIZE_DENIED.findall(file.extra_info):
        if int(there) + _SLACK_BYTES < int(declared) < _LARGEST_SIZE_BELIEVED:
            return float(file.frames * int(declared) / max(int(there), 1))
    return float(file.frames)


def _words(error: soundfile.LibsndfileError) -> str:
    words = str(error.error_string).removeprefix("Error : ").rstrip(".")
    return _PLAINER.get(words, words)


def is_complete_ogg(stream: BinaryIO) -> bool:
    """Whether the last page of a whole Ogg file is unbroken and marked as the last (RFC 3533)."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(size - 2 * _LARGEST_PAGE, 0))
    tail = stream.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if page[:4] != b"OggS" or len(page) < _HEADER_BYTES:
        return False
    lengths = page[_HEADER_BYTES : _HEADER_BYTES + page[26]]
    unbroken = len(page) >= _HEADER_BYTES + page[26] + sum(lengths)
    return unbroken and bool(page[5] & _LAST_PAGE)


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


def scan_mpeg(stream: BinaryIO) -> MpegScan | None:
    """Walk the frames of a whole file in constant memory; None if it has no frames."""
    found = _next_frame(stream, 0, None)
    if not found or not _is_followed(stream, *found):
        return None
    position, first = found
    start, declared = position, _xing_frames(stream, position, first)
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


def _xing_frames(stream: BinaryIO, position: int, frame: MpegFrame) -> int | None:
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
