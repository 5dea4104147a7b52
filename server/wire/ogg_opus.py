"""Opus in Ogg (RFC 3533, RFC 7845), as Kyutai's servers and clients stream it: 24 kHz, mono,
packets of 40 ms. One packet a page is written; packets of any paging are read."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from ...runtime.audio import HalfBandDecimator, Pcm
from . import ProtocolError

SAMPLE_RATE = 24000
PACKET = 960
"""Samples of a packet that is written."""
MOST_SECONDS = 60.0
"""Of audio in one piece of a stream."""

_DECODED_RATE = 48000
_UPSAMPLING = _DECODED_RATE // SAMPLE_RATE
_SERIAL = 42
_BIT_RATE = 32000
_PRE_SKIP = 3840
_HEAD = b"OpusHead" + bytes([1, 1]) + _PRE_SKIP.to_bytes(2, "little")
_HEAD += _DECODED_RATE.to_bytes(4, "little") + bytes(3)
_VENDOR = b"KyutaiMoshi"
_TAGS = b"OpusTags" + len(_VENDOR).to_bytes(4, "little") + _VENDOR + bytes(4)
_VERSION, _CHANNELS, _MAPPING, _LAG = 8, 9, 18, slice(10, 12)
MOST_PACKET = 2**20
"""Bytes of a packet: audio takes a few hundred, tags may hold a picture."""
MOST_PAGES = 2**15
"""Pages in one piece of a stream."""

_CAPTURE = b"OggS\0"
_HEADER = 27
_FULL = 255
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Packet:
    """A packet; `first` if it is the first of a logical stream."""

    data: bytes
    first: bool


def checksum(page: bytes) -> bytes:
    """Ogg's CRC-32 of a page whose own checksum is zero, as it stands there.

    It is zlib's with the bits of each byte the other way round, begun with zeros.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4).translate(_REVERSED)


class OggWriter:
    """One logical stream, each packet on a page of its own."""

    def __init__(self, serial: int) -> None:
        self._serial, self._sequence = serial, 0

    def page(self, packet: bytes, granule: int, *, last: bool = False) -> bytes:
        """The next page, with a packet of less than 64 KB that ends at `granule` samples; `last`
        ends the stream."""
        segments = bytes([_FULL] * (len(packet) // _FULL) + [len(packet) % _FULL])
        flags = (0 if self._sequence else _FIRST) | (_LAST if last else 0)
        head = b"".join(
            (
                _CAPTURE,
                bytes([flags]),
                granule.to_bytes(8, "little"),
                self._serial.to_bytes(4, "little"),
                self._sequence.to_bytes(4, "little"),
            )
        )
        tail = bytes([len(segments)]) + segments + packet
        self._sequence += 1
        return head + checksum(head + bytes(4) + tail) + tail


class OggReader:
    """Bytes of a stream in pieces of any size, as packets. It keeps no more than the page and the
    packet that are not yet whole. Another logical stream may follow, but not run beside. `ended`
    returns whether the last page of the stream was read."""

    def __init__(self) -> None:
        self.ended = False
        self._held = bytearray()
        self._packet: bytearray | None = None
        self._serial: bytes | None = None

    def push(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole now.

        Raises ProtocolError for bytes that are no pages, pages that were damaged or belong to no
        stream that was begun, and for more than `MOST_PAGES` or a packet over `MOST_PACKET`; the
        reader is of no use after that.
        """
        self._held += data
        start = 0
        for _ in range(MOST_PAGES):
            size = self._whole(start)
            if not size:
                del self._held[:start]
                return
            yield from self._packets(bytes(self._held[start : start + size]))
            start += size
        raise ProtocolError(f"more than {MOST_PAGES} pages of Ogg at once")

    def _whole(self, start: int) -> int:
        """The size of the page there, 0 if it is not yet whole."""
        known = self._held[start : start + _HEADER]
        if not _CAPTURE.startswith(known[: len(_CAPTURE)]):
            raise ProtocolError("bytes that are no page of Ogg")
        if len(known) < _HEADER:
            return 0
        sizes_end = start + _HEADER + known[26]
        size = _HEADER + known[26] + sum(self._held[start + _HEADER : sizes_end])
        return size if len(self._held) >= max(sizes_end, start + size) else 0

    def _packets(self, page: bytes) -> Iterator[Packet]:
        if checksum(page[:22] + bytes(4) + page[26:]) != page[22:26]:
            raise ProtocolError("a page of Ogg that was damaged on its way")
        first = bool(page[5] & _FIRST)
        if first:
            self._serial, self._packet = page[14:18], None
            self.ended = False
        elif page[14:18] != self._serial:
            raise ProtocolError("a page of Ogg of a stream that was not begun")
        sizes = page[_HEADER : _HEADER + page[26]]
        start = end = _HEADER + len(sizes)
        held = self._packet if page[5] & _CONTINUED else bytearray()
        for size in sizes:
            end += size
            if size == _FULL:
                continue
            if held is not None:  # else the beginning of what goes on here is not known
                yield Packet(bytes(held) + page[start:end], first)
            held, start, first = bytearray(), end, False
        self.ended = self.ended or bool(page[5] & _LAST)
        if sizes:
            self._hold(held if sizes[-1] == _FULL else None, page[start:end])

    def _hold(self, packet: bytearray | None, rest: bytes) -> None:
        """Keeps a packet that goes on."""
        self._packet = packet
        if packet is not None:
            packet += rest
            if len(packet) > MOST_PACKET:
                raise ProtocolError(f"a packet of Ogg of more than {MOST_PACKET} bytes")


class OpusEncoder:
    """Samples in, pages out: one packet a page, and the two of the header first.

    `for_players` writes a file that any player reads to the sample, at twice the bit rate: the
    header says by how much the codec lags, and the last page where the speech ends. Kyutai's
    readers ignore both.
    """

    def __init__(self, *, for_players: bool = False) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate, codec.format, codec.layout = SAMPLE_RATE, "flt", "mono"
        codec.bit_rate = 2 * _BIT_RATE if for_players else _BIT_RATE
        application = "audio" if for_players else "voip"
        duration = f"{1000 * PACKET / SAMPLE_RATE}"
        codec.options = {"application": application, "frame_duration": duration}
        codec.open()
        self._codec, self._ogg = codec, OggWriter(_SERIAL)
        self._head, self._lag = _HEAD, 0
        if for_players:
            assert codec.extradata is not None
            self._head = codec.extradata
            self._lag = int.from_bytes(self._head[_LAG], "little") // _UPSAMPLING
        self._waiting = np.zeros(0, np.float32)
        self._packets = 0
        self._begun = False

    def header(self) -> bytes:
        """The pages that come before all others; nothing once they were given."""
        if self._begun:
            return b""
        self._begun = True
        return self._ogg.page(self._head, 0) + self._ogg.page(_TAGS, 0)

    def push(self, pcm: Pcm) -> bytes:
        """The pages of float32 `[n]`, any n; what does not fill a packet waits for the next."""
        waiting = np.concatenate((self._waiting, pcm))
        whole = len(waiting) // PACKET * PACKET
        self._waiting = waiting[whole:]
        return self.header() + b"".join(map(self._page, waiting[:whole].reshape(-1, PACKET)))

    def flush(self) -> bytes:
        """The page of what waits, silence behind it."""
        missing = -len(self._waiting) % PACKET
        return self.push(np.zeros(missing, np.float32)) if missing else b""

    def end(self) -> bytes:
        """The last pages: what waits, silence behind it, marked as Ogg's end of the stream."""
        rest = np.concatenate((self._waiting, np.zeros(self._lag, np.float32)))
        end = self._packets * PACKET + len(rest)
        size = max(PACKET, len(rest) + -len(rest) % PACKET)
        *packets, last = np.pad(rest, (0, size - len(rest))).reshape(-1, PACKET)
        self._waiting = rest[:0]
        pages = self.header() + b"".join(map(self._page, packets))
        return pages + self._page(last, last=True, end=end if self._lag else None)

    def _page(self, samples: Pcm, *, last: bool = False, end: int | None = None) -> bytes:
        """The page of a packet, whose audio ends at the sample `end`, else with the packet."""
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._packets * PACKET
        (packet,) = self._codec.encode(frame)
        self._packets += 1
        granule = (end or self._packets * PACKET) * _UPSAMPLING
        return self._ogg.page(bytes(packet), granule, last=last)


class OpusDecoder:
    """Pages in, samples out, however they are cut. Nothing is left out: as with all of Kyutai's
    readers the pre-skip is played. Channels are mixed to one by the decoder."""

    def __init__(self, most_seconds: float = MOST_SECONDS) -> None:
        self._most = most_seconds
        self._ogg = OggReader()
        self._codec: AudioCodecContext | None = None
        self._headers = 0
        self._halver = HalfBandDecimator()

    @property
    def ended(self) -> bool:
        """Whether the stream's last page, which not every writer marks, was read."""
        return self._ogg.ended

    def push(self, data: bytes) -> Pcm:
        """float32 `[m]` at 24 kHz, of the packets that are whole now.

        Raises ProtocolError for what is not Opus in Ogg, and for more than `most_seconds` at once;
        the decoder is of no use after that.
        """
        pieces = [np.zeros(0, np.float32)]
        most = round(self._most * SAMPLE_RATE)
        for packet in self._ogg.push(data):
            pieces.append(self._take(packet))
            most -= len(pieces[-1])
            if most < 0:
                raise ProtocolError(f"more than {self._most:g} seconds of Opus at once")
        return np.concatenate(pieces)

    def _take(self, packet: Packet) -> Pcm:
        if packet.first:
            self._headers = 0
        self._headers += 1
        if self._headers == 1:
            _check_head(packet.data)
            self._codec, self._halver = _open_decoder(), HalfBandDecimator()
        elif self._headers > 2:  # the second holds tags
            return self._decode(packet.data)
        return np.zeros(0, np.float32)

    def _decode(self, data: bytes) -> Pcm:
        if not data or self._codec is None:  # which to libav is the end of the stream
            raise ProtocolError("an empty packet of Opus")
        try:
            frames = self._codec.decode(av.Packet(data))
        except av.FFmpegError as error:
            raise ProtocolError("a packet that is not Opus") from error
        wide = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return self._halver.push(wide.astype(np.float32) / np.float32(2**15))


def _check_head(data: bytes) -> None:
    """Refuses what is not a head of Opus in one or two channels (RFC 7845)."""
    if data[:8] != _HEAD[:8] or len(data) < len(_HEAD) or data[_VERSION] >> 4:
        raise ProtocolError("an Ogg stream that is not Opus")
    if data[_CHANNELS] not in (1, 2) or data[_MAPPING]:
        raise ProtocolError(f"Opus of {data[_CHANNELS]} channels: send one or two")


def _open_decoder() -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, AudioCodecContext)
    codec.layout = "mono"
    codec.open()
    return codec
