"""Encoders make a file of samples: a stream of WAV or raw PCM, or a file by libsndfile."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from ...errors import AudioError, UsageError
from ...output_file import OutputFile
from ..pcm import Pcm, RawFormat, encode
from .output import can_rewrite, open_for_writing, writing
from .wav import build_header

_ENCODER_STEP = 1 << 16  # libsndfile's Vorbis encoder overflows the stack on very long blocks


class Encoder(Protocol):
    """Takes samples [n, channels]; once it is closed, what it wrote is a valid file."""

    output: OutputFile | None
    """The file that it writes, for its owner to commit; None for the stream of somebody else."""

    def write(self, block: Pcm) -> None:
        """Append samples; raises AudioError when they cannot be stored."""

    def close(self) -> None:
        """Write what ends the file; raises AudioError if that cannot be stored."""


class PcmEncoder:
    """Linear PCM into a byte stream, behind a WAV header unless `headerless`.

    The header says "unknown size" until `close` corrects it, where the stream can seek: a file
    left behind by a killed program is still read to its end.
    """

    def __init__(
        self,
        name: str,
        stream: BinaryIO,
        raw: RawFormat,
        *,
        headerless: bool,
        output: OutputFile | None = None,
    ) -> None:
        self._name = name
        self._stream = stream
        self._raw = raw
        self._header = b"" if headerless else build_header(raw)
        self.output = output
        self._start = stream.tell() if can_rewrite(stream) else None
        self._put(self._header)

    def write(self, block: Pcm) -> None:
        """See `Encoder.write`."""
        self._put(encode(block.reshape(-1), self._raw.encoding))

    def close(self) -> None:
        """See `Encoder.close`."""
        with writing(self._name):
            if self._header and self._start is not None:
                self._correct_header(self._start)
            self._stream.flush()

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        with writing(self._name):
            while rest:
                written = self._stream.write(rest)
                rest = rest[written:]
            if self.output is None:
                self._stream.flush()

    def _correct_header(self, start: int) -> None:
        """Declare what was written, in whole frames: an interrupt may have split the last one."""
        first = start + len(self._header)
        size = (self._stream.tell() - first) // self._raw.frame_bytes * self._raw.frame_bytes
        self._stream.seek(first + size)
        self._stream.write(bytes(size & 1))
        end = self._stream.truncate()
        self._stream.seek(start)
        self._stream.write(build_header(self._raw, size))
        self._stream.seek(end)


class SndfileEncoder:
    """A file that libsndfile encodes; as most of its encoders leave an empty one invalid, a file
    without samples gets one silent sample.

    Raises UsageError for what the format cannot hold, before the file is touched.
    """

    def __init__(
        self, path: Path, sample_rate: int, channels: int, container: str, subtype: str
    ) -> None:
        self._path = path
        self._silence = np.zeros((1, channels), np.float32)
        _check_encoder(sample_rate, channels, container, subtype)
        self.output: OutputFile | None = (output := open_for_writing(path))
        output.stream.close()  # libsndfile opens it by its name
        target = os.fsencode(output.part) if os.name == "posix" else str(output.part)
        try:
            with _encoding(path):
                self._file = soundfile.SoundFile(
                    target, "w", sample_rate, channels, subtype, format=container
                )
        except BaseException:
            output.discard()
            raise

    def write(self, block: Pcm) -> None:
        """See `Encoder.write`."""
        with _encoding(self._path):
            for start in range(0, len(block), _ENCODER_STEP):
                self._file.write(np.ascontiguousarray(block[start : start + _ENCODER_STEP]))

    def close(self) -> None:
        """See `Encoder.close`."""
        with _encoding(self._path):
            if not self._file.frames:
                self._file.write(self._silence)
            self._file.close()


def _check_encoder(sample_rate: int, channels: int, container: str, subtype: str) -> None:
    if not soundfile.check_format(container, subtype):
        known = ", ".join(soundfile.available_subtypes(container)) or "nothing in this libsndfile"
        raise UsageError(f"{container} cannot hold {subtype}: it can hold {known}")
    try:
        soundfile.SoundFile(
            io.BytesIO(), "w", sample_rate, channels, subtype, format=container
        ).close()
    except soundfile.LibsndfileError as error:
        raise UsageError(
            f"{container} {subtype} cannot hold {channels} channel(s) at {sample_rate} Hz "
            f"({error.error_string.rstrip('.')}): choose another format"
        ) from error


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    try:
        yield
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts what it wrote
        free = shutil.disk_usage(path.parent).free // 2**20
        words = str(getattr(error, "error_string", "")).rstrip(".") or "it took only a part"
        raise AudioError(
            f"cannot write {path}: {words}; check the disk, which has {free} MiB free"
        ) from error
