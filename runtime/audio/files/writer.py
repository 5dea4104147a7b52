"""Writes float32 samples to an audio file, block by block, so that what was written is kept."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import numpy as np
import soundfile

from ...errors import AudioError, KyutaiOnnxError, UsageError
from ...output_file import OutputFile, is_folder
from ..pcm import Encoding, Pcm, RawFormat, check_encoding, encode
from .output import (
    STANDARD_OUTPUT,
    can_rewrite,
    open_for_writing,
    open_stdout,
    write_failure,
    writing,
)
from .wav import SUBTYPES, build_header

_ENCODER_STEP = 1 << 16  # libsndfile's Vorbis encoder overflows the stack on very long blocks

AudioTarget = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True)
class Container:
    """A file format and its usual encoding, as libsndfile names them."""

    format: str
    subtype: str


CONTAINERS = {
    ".wav": Container("WAV", "PCM_16"),
    ".flac": Container("FLAC", "PCM_16"),
    ".ogg": Container("OGG", "VORBIS"),
    ".opus": Container("OGG", "OPUS"),
    ".mp3": Container("MP3", "MPEG_LAYER_III"),
}


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

    The header says "unknown size" until `close` corrects it, if the stream can seek: a file left
    behind by a killed program is still read to its end.
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


class AudioWriter:
    """A context manager over .wav, .flac, .ogg, .opus or .mp3, "-", or a binary file object.

    "-" is WAV on standard output, flushed after every block; a file object gets WAV too and is
    not closed; `raw` leaves the header out, wherever it goes. `subtype` is libsndfile's name of
    the encoding ("PCM_16" in WAV and FLAC by default). Integers are clipped to [-1, 1], floats
    kept.

    A file appears, or replaces an older one, as a whole when the `with` block ends; an interrupt
    ends it as well. After an error an older file stays; without one, what was written is kept.

    Raises UsageError for what the format cannot hold, AudioError for what the system refuses.
    """

    def __init__(
        self,
        target: AudioTarget,
        sample_rate: int,
        channels: int = 1,
        subtype: str | None = None,
        *,
        raw: Encoding | None = None,
    ) -> None:
        if sample_rate < 1 or channels < 1:
            raise UsageError(
                f"{channels} channel(s) at {sample_rate} Hz cannot be written: give at least 1 each"
            )
        self.name = target_name(target)
        self.sample_rate = sample_rate
        self.channels = channels
        self.frames = 0
        """Samples per channel written so far."""
        self._failed = False
        self._encoder: Encoder | None = open_encoder(target, sample_rate, channels, subtype, raw)

    def write(self, samples: Pcm) -> None:
        """Append float32 samples, [n] or [n, channels].

        Raises UsageError for another dtype or shape, AudioError when the system refuses, or for
        a sample that is NaN or infinite, after those before it were written.
        """
        if self._encoder is None:
            raise UsageError(f"{self.name} is closed: write before the end of the with block")
        block = self._shaped(samples)
        finite = np.isfinite(block).all(axis=1)
        good = len(block) if finite.all() else int(finite.argmin())
        try:
            self._encoder.write(block[:good])
        except BaseException as error:
            self._failed = isinstance(error, Exception)
            raise
        self.frames += good
        if good < len(block):
            raise AudioError(
                f"{self.name} ends at {self.frames / self.sample_rate:.3f} s: "
                "the next sample is NaN or infinite; check what made it"
            )

    def close(self) -> None:
        """Finish the file and put it at its path; does nothing the second time."""
        self._finish(keep=not self._failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
            return
        made = self.frames > 0 and not self._failed
        with suppress(KyutaiOnnxError):  # the error that ended the block is the one to see
            self._finish(keep=made and not isinstance(error, Exception))

    def _finish(self, *, keep: bool) -> None:
        """Ends the file; without `keep` it replaces no other."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        try:
            encoder.close()
        except BaseException:
            self._settle(encoder.output, keep=False)
            raise
        self._settle(encoder.output, keep=keep)

    def _settle(self, output: OutputFile | None, *, keep: bool) -> None:
        if output is None:
            return
        with writing(self.name):
            if keep:
                output.commit()
            elif self.frames:
                output.salvage()
            else:
                output.discard()

    def _shaped(self, samples: Pcm) -> Pcm:
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise UsageError(f"samples must be a float32 numpy array, not {kind}")
        block = samples[:, np.newaxis] if samples.ndim == 1 else samples
        if block.ndim != 2 or block.shape[1] != self.channels:
            wanted = "[n]" if self.channels == 1 else f"[n, {self.channels}]"
            raise UsageError(f"samples must be {wanted}, not {list(samples.shape)}")
        return block


def target_name(target: AudioTarget) -> str:
    """What messages call it."""
    if isinstance(target, str | os.PathLike):
        path = os.fspath(target)
        return STANDARD_OUTPUT if path == "-" else path
    label = getattr(target, "name", None)
    return label if isinstance(label, str) else f"<{type(target).__name__}>"


def check_target(path: str | Path | None, *, headerless: bool = False) -> None:
    """Raise AudioError for a file whose ending names no audio format, or whose folder does not
    exist, before what it is to hold is made."""
    if path is None or str(path) == "-":
        return
    if not headerless:
        _container(Path(path))
    if not is_folder(str(Path(path).parent)):
        raise AudioError(write_failure(str(path), FileNotFoundError()))


def open_encoder(
    target: AudioTarget, sample_rate: int, channels: int, subtype: str | None, raw: Encoding | None
) -> Encoder:
    """The encoder of a target; `raw` leaves the header out, whatever the extension.

    Raises UsageError for what cannot be written, AudioError for what the system refuses.
    """
    if raw:
        if subtype:
            raise UsageError(f"raw {raw} has no subtype: leave out {subtype!r}")
        check_encoding(raw)
        return _pcm_encoder(target, RawFormat(sample_rate, raw, channels), headerless=True)
    if isinstance(target, str | os.PathLike) and os.fspath(target) != "-":
        container = _container(Path(target))
        subtype = subtype or container.subtype
        if container.format != "WAV" or subtype not in SUBTYPES:
            path = Path(target)
            return SndfileEncoder(path, sample_rate, channels, container.format, subtype)
    encoding = SUBTYPES.get(subtype or "PCM_16")
    if not encoding:
        raise UsageError(f"a WAV stream cannot hold {subtype}: choose {', '.join(SUBTYPES)}")
    return _pcm_encoder(target, RawFormat(sample_rate, encoding, channels), headerless=False)


def _pcm_encoder(target: AudioTarget, raw: RawFormat, *, headerless: bool) -> PcmEncoder:
    name = target_name(target)
    if not isinstance(target, str | os.PathLike):
        if not hasattr(target, "write"):
            raise UsageError(f"audio cannot be written to {name}: give a path or a binary file")
        return PcmEncoder(name, target, raw, headerless=headerless)
    if os.fspath(target) == "-":
        return PcmEncoder(name, open_stdout(), raw, headerless=headerless)
    output = open_for_writing(Path(target))
    return PcmEncoder(name, output.stream, raw, headerless=headerless, output=output)


def _container(path: Path) -> Container:
    container = CONTAINERS.get(path.suffix.lower())
    if not container:
        said = f"extension {path.suffix!r}" if path.suffix else "no extension"
        known = ", ".join(CONTAINERS)
        raise AudioError(f"cannot write {path}: {said} names no audio format; use {known}")
    return container
