"""Where audio comes from: a path, a binary file object or standard input, as a stream of bytes.

A decoder turns such a stream into samples: its protocol and its errors are here, each one is in the
file of what it reads.
"""

import io
import os
import re
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ...errors import AudioError, UsageError
from ..pcm import Pcm

AudioSource = str | os.PathLike[str] | BinaryIO

_SPOOL_STEP = 1 << 20


class ByteSource:
    """A named stream of bytes that takes back bytes it gave; `path` only if it can be reopened.

    A seekable stream is `whole`: it starts at its first byte and its size is known.
    """

    def __init__(
        self, name: str, stream: BinaryIO, *, whole: bool, owned: bool, path: Path | None = None
    ) -> None:
        self.name = name
        self.stream = stream
        self.whole = whole
        self.path = path
        self._owned = owned
        self._ahead = b""
        self._read = getattr(stream, "read1", stream.read)

    def read_some(self, count: int) -> bytes:
        """What has arrived, at most `count` bytes; nothing means the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:count], self._ahead[count:]
            return data
        try:
            return bytes(self._read(count))
        except (OSError, ValueError) as error:
            raise read_failure(self.name, error) from error

    def read_exactly(self, count: int) -> bytes:
        """`count` bytes, fewer only at the end."""
        data = b""
        while len(data) < count and (more := self.read_some(count - len(data))):
            data += more
        return data

    def unread(self, data: bytes) -> None:
        """Give `data` back: it is read again first."""
        self._ahead = data + self._ahead

    def rewind(self) -> None:
        """Back to the first byte of a whole stream."""
        self._ahead = b""
        self.stream.seek(0)

    def size(self) -> int | None:
        """Bytes of a whole stream, None for a pipe."""
        if not self.whole:
            return None
        here = self.stream.tell()
        end = self.stream.seek(0, io.SEEK_END)
        self.stream.seek(here)
        return end

    def position(self) -> int:
        """Bytes of a whole stream that were read and not given back."""
        return self.stream.tell() - len(self._ahead)

    def close(self) -> None:
        """Close the stream unless it is the caller's."""
        if self._owned:
            self.stream.close()


@dataclass(frozen=True)
class AudioInfo:
    """Rate in Hz, channels, and length in samples per channel (None if unknown before the end)."""

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


def open_source(source: AudioSource) -> ByteSource:
    """Open a path, "-" (standard input) or a binary file object, which is read from its start.

    Raises AudioError when it cannot be opened, UsageError when it is none of these.
    """
    if isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        raise AudioError(
            f"{source} is a URL, and only files are read; download it, for example with "
            f"'curl -LO {source}'"
        )
    if isinstance(source, str | os.PathLike):
        return _open_stdin() if os.fspath(source) == "-" else _open_path(Path(source))
    return _open_object(source)


def spooled(source: ByteSource) -> ByteSource:
    """The rest of a pipe as a whole stream, through a temporary file that vanishes when closed."""
    kept = ExitStack()
    try:
        file = kept.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        while data := source.read_some(_SPOOL_STEP):
            file.write(data)
        file.seek(0)
        kept.pop_all()
    except OSError as error:
        raise AudioError(
            f"cannot keep {source.name} in a temporary file ({reason(error)}): "
            f"make room in {tempfile.gettempdir()} or set TMPDIR to a larger folder"
        ) from error
    finally:
        kept.close()
        source.close()
    return ByteSource(source.name, file, whole=True, owned=True)


def read_failure(name: str, error: Exception) -> AudioError:
    """The one line for an `error` of the operating system on reading `name`."""
    match error:
        case FileNotFoundError():
            return AudioError(f"cannot read {name}: there is no such file; check the path")
        case IsADirectoryError():
            return AudioError(f"cannot read {name}: it is a folder; name an audio file in it")
        case PermissionError():
            return AudioError(f"cannot read {name}: permission denied; change its access rights")
    return AudioError(f"cannot read {name}: {reason(error)}; check the file and its disk")


def cut_short(name: str, there: float, declared: float) -> AudioError:
    """The error for a source that ends after `there` of its `declared` seconds."""
    return AudioError(
        f"{name} is cut short or damaged: {there:.3f} s of its {declared:.3f} s could be read; "
        "copy or download it again"
    )


def reason(error: Exception) -> str:
    """The operating system's words for `error`, without its number and path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def conversion(path: Path | None) -> str:
    """The ffmpeg command that makes a WAV file of the one at `path`, or of any without one."""
    if path is None:
        return "ffmpeg -i IN -ar 24000 -ac 1 OUT.wav"
    target = path.with_suffix(".wav")
    if target == path:
        target = path.with_name(f"{path.stem}-converted.wav")
    return f"ffmpeg -i {shlex.quote(str(path))} -ar 24000 -ac 1 {shlex.quote(str(target))}"


def _open_path(path: Path) -> ByteSource:
    try:
        if path.is_dir():
            raise IsADirectoryError
        stream = path.open("rb")
    except (OSError, ValueError) as error:
        raise read_failure(str(path), error) from error
    whole = stream.seekable()
    return ByteSource(str(path), stream, whole=whole, owned=True, path=path if whole else None)


def _open_stdin() -> ByteSource:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise AudioError("there is no standard input here: name a file")
    if stream.isatty():
        raise AudioError("standard input is a terminal: pipe audio into it, or name a file")
    whole = stream.seekable() and stream.tell() == 0
    return ByteSource("standard input", stream, whole=whole, owned=False)


def _open_object(stream: BinaryIO) -> ByteSource:
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "read"):
        raise UsageError(
            f"audio is read from a path, '-' or a file object open in binary mode, "
            f"not from {type(stream).__name__}"
        )
    label = getattr(stream, "name", None)
    name = label if isinstance(label, str) else f"<{type(stream).__name__}>"
    try:
        whole = stream.seekable()
        if whole:
            stream.seek(0)
    except (OSError, ValueError) as error:
        raise read_failure(name, error) from error
    return ByteSource(name, stream, whole=whole, owned=False)
