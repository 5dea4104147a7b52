"""Chooses the decoder for a source by its first bytes, never by its name."""

from ..errors import AudioError
from .decoder import Decoder, PcmDecoder
from .pcm import RawFormat
from .sndfile import SndfileDecoder
from .source import AudioSource, ByteSource, conversion, open_source, spooled
from .wav import read_header

_HEAD_BYTES = 16
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4/M4A"),
    (0, b"\x1aE\xdf\xa3", "Matroska/WebM"),
    (0, b"\x30\x26\xb2\x75", "WMA/ASF"),
    (0, b"#!AMR", "AMR"),
    (0, b"ADIF", "AAC"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (8, b"AVI ", "AVI video"),
)
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
    _refuse_foreign(source, head)
    if header := read_header(source):
        return _plausible(PcmDecoder(source, header.format, header))
    if source.path and source.path.suffix.lower() in _HEADERLESS_SUFFIXES:
        raise AudioError(
            f"{source.name} holds samples without a header: "
            "say what they are (sample rate, encoding, channels)"
        )
    return _plausible(_open_sndfile(source if source.whole else spooled(source)))


def _open_sndfile(source: ByteSource) -> SndfileDecoder:
    try:
        return SndfileDecoder(source)
    except BaseException:
        source.close()
        raise


def _refuse_foreign(source: ByteSource, head: bytes) -> None:
    kind = next((kind for at, mark, kind in _FOREIGN if head[at:].startswith(mark)), None)
    if head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9"):
        kind = "AAC"
    if kind:
        raise AudioError(
            f"{source.name} is {kind}, which is not read here: "
            f"convert it first: {conversion(source.path)}"
        )


def _plausible(decoder: Decoder) -> Decoder:
    rate = decoder.info.sample_rate
    if rate not in _SAMPLE_RATES:
        decoder.close()
        raise AudioError(
            f"{decoder.name} claims a sample rate of {rate} Hz: "
            "its header is damaged; copy or download it again"
        )
    return decoder
