"""Chooses the decoder for a source by its first bytes, never by its name."""

from collections.abc import Callable

from ...errors import AudioError
from ..pcm import RawFormat
from .decoder import Decoder, PcmDecoder
from .sndfile import SndfileDecoder
from .source import AudioSource, ByteSource, conversion, open_source, spooled
from .wav import read_header

_HEAD_BYTES = 16
FOREIGN: tuple[tuple[int, bytes, str, str | None], ...] = (
    (4, b"ftyp", "MP4/M4A", "mov"),
    (0, b"\x1aE\xdf\xa3", "Matroska/WebM", "matroska"),
    (0, b"\x30\x26\xb2\x75", "WMA/ASF", "asf"),
    *((0, b"\xff" + second, "AAC", "aac") for second in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")),
    (0, b"FLV\x01", "Flash video", "flv"),
    (8, b"AVI ", "AVI video", "avi"),
    (0, b"#!AMR", "AMR", None),
    (0, b"ADIF", "AAC", None),
    (0, b"MAC ", "Monkey's Audio", None),
    (0, b"wvpk", "WavPack", None),
    (0, b"DSD ", "DSD", None),
    (0, b"FRM8", "DSD", None),
)
"""What libsndfile does not read: where its mark lies, the mark, its name and FFmpeg's demuxer."""
_HEADERLESS_SUFFIXES = (".raw", ".pcm")
_SAMPLE_RATES = range(1_000, 1_000_001)


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
    head = source.read_exactly(_HEAD_BYTES)
    source.unread(head)
    if not head:
        raise AudioError(f"{source.name} is empty (0 bytes): record or copy it again")
    if raw:
        return PcmDecoder(source, raw)
    if foreign := _foreign(head):
        return _plausible(_open_foreign(source, *foreign))
    if header := read_header(source):
        return _plausible(PcmDecoder(source, header.format, header))
    if source.path and source.path.suffix.lower() in _HEADERLESS_SUFFIXES:
        raise AudioError(
            f"{source.name} holds samples without a header: "
            "say what they are (sample rate, encoding, channels)"
        )
    return _plausible(_open_whole(source, SndfileDecoder))


def _open_whole(source: ByteSource, decoder: Callable[[ByteSource], Decoder]) -> Decoder:
    whole = source if source.whole else spooled(source)
    try:
        return decoder(whole)
    except BaseException:
        whole.close()
        raise


def _foreign(head: bytes) -> tuple[str, str | None] | None:
    """The name and the demuxer of what libsndfile does not read."""
    for at, mark, kind, demuxer in FOREIGN:
        if head[at:].startswith(mark):
            return kind, demuxer
    return None


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
