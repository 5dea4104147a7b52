"""Reads audio as mono float32 blocks at one sample rate, in constant memory whatever its length."""

import math
import re
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from io import BytesIO
from typing import Self

import numpy as np

from ...errors import AudioError, UsageError
from ...typing import Array
from ..pcm import LOUDEST, FloatScale, Mixer, Pcm, RawFormat, check_samples, to_float32
from ..resampler import Resampler
from .sndfile import SndfileDecoder
from .source import (
    AudioInfo,
    AudioSource,
    ByteSource,
    Decoder,
    conversion,
    open_source,
    spooled,
)
from .wav import RIFF, PcmDecoder, read_header

_LARGEST_BLOCK = 1 << 21  # samples of all channels together
HEAD_BYTES = 400
"""Bytes of a file that `foreign_kind` asks for."""
_SHORT_HEAD = 36
_FOREIGN: tuple[tuple[int, bytes, str, str | None], ...] = (
    (4, b"ftyp", "MP4/M4A", "mov"),
    (0, b"\x1aE\xdf\xa3", "Matroska/WebM", "matroska"),
    (0, b"\x30\x26\xb2\x75", "WMA/ASF", "asf"),
    *((0, b"\xff" + second, "AAC", "aac") for second in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")),
    (0, b"FLV\x01", "Flash video", "flv"),
    (8, b"AVI ", "AVI video", "avi"),
    (0, b"#!AMR\n", "AMR", "amr"),
    (0, b"#!AMR-WB\n", "AMR", "amr"),
    (0, b"\x0b\x77", "AC3", "ac3"),
    (0, b"wvpk", "WavPack", "wv"),
    (28, b"Speex   ", "Speex", "ogg"),
    (0, b"\0\0\x01\xba", "MPEG-PS", "mpeg"),
    (0, b"#!AMR", "AMR of many channels", None),
    (0, b"ADIF", "AAC", None),
    (0, b"MAC ", "Monkey's Audio", None),
    (0, b"DSD ", "DSD", None),
    (0, b"FRM8", "DSD", None),
)
"""Containers that libsndfile does not read: position of their mark, mark, name, FFmpeg's
demuxer."""
_CODED_WAV = {
    **dict.fromkeys((0x00FF, 0x1600, 0x1601, 0x706D, 0xA106), "AAC in WAV"),
    **dict.fromkeys((0x0160, 0x0161, 0x0162), "WMA in WAV"),
    0x0050: "MP2 in WAV",
    0x2000: "AC3 in WAV",
    0xA109: "Speex in WAV",
}
"""Codecs in WAV that libsndfile does not read, by their tag."""
_SYNC, _PACKETS = b"G", ((0, 188), (4, 192))
"""A transport stream: each packet begins with a byte, behind four of time on disks."""
_HEADERLESS_SUFFIXES = (".raw", ".pcm")
_SAMPLE_RATES = range(1_000, 1_000_001)


def audio_blocks(
    audio: Array | bytes | AudioSource,
    sample_rate: int,
    *,
    source_rate: int | None = None,
    channel: int | None = None,
) -> Iterable[Pcm]:
    """Read a file, the bytes of one or an array as blocks of mono float32 [n] at `sample_rate`.

    An array is [n] or [n, channels], floats in [-1, 1] or integers of full scale, at `source_rate`,
    without one at `sample_rate` already. A file has its own rate.

    Raises UsageError for an array that is not audio and for the rate of a file, and as `read_audio`
    does.
    """
    if isinstance(audio, np.ndarray):
        mono = _mono_array(audio, channel, source_rate or sample_rate)
        if source_rate in (None, sample_rate):
            return [mono]
        check_samples(mono)
        pieces = (mono[at : at + _LARGEST_BLOCK] for at in range(0, len(mono), _LARGEST_BLOCK))
        return _resampled(pieces, Resampler(source_rate, sample_rate))
    if source_rate is not None:
        raise UsageError("sample_rate is that of an array: a file has its own, leave it out")
    source = BytesIO(audio) if isinstance(audio, bytes | bytearray | memoryview) else audio
    return read_audio(source, sample_rate, channel=channel)


def _mono_array(samples: Array, channel: int | None, sample_rate: int) -> Pcm:
    if samples.ndim not in (1, 2) or samples.shape[1:] == (0,):
        raise UsageError(
            f"audio is an array [n] or [n, channels], not of shape {list(samples.shape)}"
        )
    pcm = to_float32(samples)
    count = 1 if pcm.ndim == 1 else pcm.shape[1]
    _check_channel("the array", count, channel)
    if pcm.ndim == 1:
        return pcm
    mixer = Mixer("the array", sample_rate, count, channel)
    return np.concatenate((mixer.push(pcm), mixer.flush()))


CHECKED_RATE = 24_000
"""The rate at which audio is opened before a model, and so its own rate, is known."""


def check_audio(
    source: AudioSource, *, channel: int | None = None, raw: RawFormat | None = None
) -> None:
    """Raise AudioError or UsageError, as `read_audio` does, for audio that cannot be opened."""
    read_audio(source, CHECKED_RATE, channel=channel, raw=raw).close()


def read_audio(
    source: AudioSource,
    sample_rate: int,
    *,
    channel: int | None = None,
    block_seconds: float = 1.0,
    raw: RawFormat | None = None,
) -> "AudioReader":
    """Blocks of mono float32 [n] at `sample_rate` Hz, from a path, a binary file object or "-".

    Mono is the mean of all channels (see `Mixer`), or the one that `channel` counts from 0. A block
    stands for at most `block_seconds` of the source; from a pipe it is what has arrived. Samples at
    `sample_rate` already pass bit for bit, others equal `soxr.resample` of the whole. Samples
    beyond [-1, 1] are kept, unless they are in the range of integers (see `FloatScale`). `raw` says
    what a source without a header holds. A file object is read from its start if it can seek, and
    is not closed.

    Opening raises AudioError (missing, empty, unreadable, foreign container) and UsageError
    (arguments, a channel that is not there). Iterating raises AudioError for damage, a file cut
    short, a sample that is NaN, infinite or above 100 in magnitude, or no samples at all, after
    all blocks before it.
    """
    if sample_rate < 1:
        raise UsageError(f"sample rate {sample_rate} Hz: it must be at least 1")
    if not (math.isfinite(block_seconds) and block_seconds > 0):
        raise UsageError(f"blocks of {block_seconds} s: they must be longer than 0")
    decoder = open_decoder(source, raw)
    try:
        return AudioReader(decoder, sample_rate, channel, block_seconds)
    except UsageError:
        decoder.close()
        raise


def probe(source: AudioSource, *, raw: RawFormat | None = None) -> AudioInfo:
    """What a source holds. Of a pipe this consumes the start: use `read_audio(...).info` there.

    Raises AudioError and UsageError as opening does in `read_audio`.
    """
    decoder = open_decoder(source, raw)
    decoder.close()
    return decoder.info


class AudioReader(Iterator[Pcm]):
    """The blocks of one source; made by `read_audio`.

    Closes itself at the end, at an error and when nobody holds it any more, or by `close`.
    """

    def __init__(
        self, decoder: Decoder, sample_rate: int, channel: int | None, block_seconds: float
    ) -> None:
        self.info: AudioInfo = decoder.info
        """What the source holds, at its own rate."""
        self._decoder = decoder
        _check_channel(decoder.name, decoder.info.channels, channel)
        wanted = min(block_seconds * self.info.sample_rate, _LARGEST_BLOCK / self.info.channels)
        mono = _mono(decoder, max(int(wanted), 1), channel)
        self._blocks = _resampled(mono, Resampler(self.info.sample_rate, sample_rate))

    def __next__(self) -> Pcm:
        try:
            return next(self._blocks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the source; there are no more blocks."""
        self._blocks.close()
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._decoder.close()


def _resampled(blocks: Iterator[Pcm], resampler: Resampler) -> Generator[Pcm]:
    """The blocks at another rate, all that precedes an error before it."""
    failure = None
    try:
        for mono in blocks:
            if len(block := resampler.push(mono)):
                yield block
    except AudioError as error:
        failure = error
    if len(block := resampler.flush()):
        yield block
    if failure:
        raise failure


def _mono(decoder: Decoder, frames: int, channel: int | None) -> Iterator[Pcm]:
    position = 0
    for mono in _mixed(decoder, frames, channel):
        sound = np.abs(mono) <= LOUDEST  # which NaN is not
        if not sound.all():
            good = int(sound.argmin())
            yield mono[:good]
            raise _not_a_number(decoder, position + good)
        yield mono
        position += len(mono)
    if not position:
        raise AudioError(f"{decoder.name} holds no samples: record or copy it again")


def _mixed(decoder: Decoder, frames: int, channel: int | None) -> Iterator[Pcm]:
    """Mono of everything, at most `frames` at a time, and then what the decoder raises."""
    name, info, failure = decoder.name, decoder.info, None
    mixer = Mixer(name, info.sample_rate, info.channels, channel)
    floats = re.search(r"FLOAT|DOUBLE|f32|f64", info.format)
    scale = FloatScale(name, info.sample_rate, info.channels) if floats else None
    try:
        while len(block := decoder.read(frames)):
            yield from _cut(mixer.push(scale.push(block) if scale else block), frames)
    except AudioError as error:
        failure = error
    if scale:
        yield from _cut(mixer.push(scale.flush()), frames)
    yield from _cut(mixer.flush(), frames)
    if failure:
        raise failure


def _cut(mono: Pcm, frames: int) -> Iterator[Pcm]:
    return (mono[at : at + frames] for at in range(0, len(mono), frames))


def _not_a_number(decoder: Decoder, position: int) -> AudioError:
    return AudioError(
        f"{decoder.name} has a sample that is NaN, infinite or above {LOUDEST:g} at "
        f"{position / decoder.info.sample_rate:.3f} s: what precedes was read; "
        "export the audio again from its source"
    )


def _check_channel(name: str, count: int, channel: int | None) -> None:
    if channel is not None and not 0 <= channel < count:
        there = "1 channel, number 0" if count == 1 else f"{count} channels, 0 to {count - 1}"
        raise UsageError(f"{name} has {there}: there is no channel {channel}")


def open_decoder(source: AudioSource, raw: RawFormat | None) -> Decoder:
    """The decoder of a source, headerless if `raw` says what it holds.

    Raises AudioError (missing, empty, foreign or damaged), UsageError (no source at all).
    """
    opened = open_source(source)
    try:
        return _choose(opened, raw)
    except BaseException:
        opened.close()
        raise


def _choose(source: ByteSource, raw: RawFormat | None) -> Decoder:
    head = source.read_exactly(_SHORT_HEAD)
    if not raw and any(head[at : at + 1] == _SYNC for at, _ in _PACKETS):
        head += source.read_exactly(HEAD_BYTES - len(head))
    source.unread(head)
    if not head:
        raise AudioError(f"{source.name} is empty (0 bytes): record or copy it again")
    if raw:
        return PcmDecoder(source, raw)
    if foreign := foreign_kind(head):
        return _plausible(_open_foreign(source, *foreign))
    if head[:4] in RIFF and (header := read_header(source)):
        return _plausible(PcmDecoder(source, header.format, header))
    if source.path and source.path.suffix.lower() in _HEADERLESS_SUFFIXES:
        raise AudioError(
            f"{source.name} holds samples without a header: "
            "give their encoding and rate, as in '--raw s16le --rate 16000', or pass an array"
        )
    return _plausible(_open_whole(source, SndfileDecoder))


def _open_whole(source: ByteSource, decoder: Callable[[ByteSource], Decoder]) -> Decoder:
    whole = source if source.whole else spooled(source)
    try:
        return decoder(whole)
    except BaseException:
        whole.close()
        raise


def foreign_kind(head: bytes) -> tuple[str, str | None] | None:
    """The name and, if it can be read, FFmpeg's demuxer of what libsndfile does not read."""
    for at, mark, kind, demuxer in _FOREIGN:
        if head[at:].startswith(mark):
            return kind, demuxer
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and len(head) >= _SHORT_HEAD:
        coded = _CODED_WAV.get(struct.unpack_from("<H", head, 20)[0])
        return (coded, "wav") if coded else None
    if any(_is_sync(head[at::step]) for at, step in _PACKETS):
        return "MPEG-TS", "mpegts"
    return None


def _is_sync(firsts: bytes) -> bool:
    return len(firsts) >= 2 and firsts == _SYNC * len(firsts)


def _open_foreign(source: ByteSource, kind: str, demuxer: str | None) -> Decoder:
    if demuxer is None:
        raise AudioError(
            f"{source.name} is {kind}, which is not read here: "
            f"convert it first: {conversion(source.path)}"
        )
    try:
        from .media import MediaDecoder
    except ModuleNotFoundError as error:
        raise AudioError(
            f"{source.name} is {kind}: to read it run 'pip install \"kyutai-onnx[media]\"', "
            f"or convert it: {conversion(source.path)}"
        ) from error
    return _open_whole(source, lambda whole: MediaDecoder(whole, demuxer))


def _plausible(decoder: Decoder) -> Decoder:
    rate = decoder.info.sample_rate
    if rate not in _SAMPLE_RATES:
        decoder.close()
        raise AudioError(
            f"{decoder.name} claims a sample rate of {rate} Hz: "
            "its header is damaged; copy or download it again"
        )
    return decoder
