"""Everything that libsndfile decodes: FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF and the rest."""

import io
import os
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ...errors import AudioError
from ..pcm import Pcm
from ..stderr_filter import captured_stderr
from .decoder import AudioInfo, cut_short
from .mpeg import looks_like_mpeg, scan
from .source import ByteSource, conversion, read_failure

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
        mpeg = scan(stream) if self._mpeg else None
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
        # Where the decoder fails, the samples before that are in the block, uncounted.
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
