"""Opus in Ogg, as Kyutai's servers and clients stream it: 24 kHz, mono, packets of 40 ms."""

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from ...runtime.audio import Pcm
from .decimator import HalfBandDecimator
from .errors import ProtocolError
from .ogg import OggReader, OggWriter, Packet

SAMPLE_RATE = 24000
PACKET = 960
"""Samples of a packet that is written."""
MOST_SECONDS = 60.0
"""Of audio in one piece of a stream."""

_DECODED_RATE = 48000
_SERIAL = 42
_BIT_RATE = 32000
_PRE_SKIP = 3840
_HEAD = b"OpusHead" + bytes([1, 1]) + _PRE_SKIP.to_bytes(2, "little")
_HEAD += _DECODED_RATE.to_bytes(4, "little") + bytes(3)
_VENDOR = b"KyutaiMoshi"
_TAGS = b"OpusTags" + len(_VENDOR).to_bytes(4, "little") + _VENDOR + bytes(4)
_VERSION, _CHANNELS, _MAPPING = 8, 9, 18


class OpusEncoder:
    """Samples in, pages out: one packet a page, and the two of the header first."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate, codec.format, codec.layout = SAMPLE_RATE, "flt", "mono"
        codec.bit_rate = _BIT_RATE
        codec.options = {"application": "voip", "frame_duration": f"{1000 * PACKET / SAMPLE_RATE}"}
        codec.open()
        self._codec, self._ogg = codec, OggWriter(_SERIAL)
        self._waiting = np.zeros(0, np.float32)
        self._packets = 0
        self._begun = False

    def header(self) -> bytes:
        """The pages that come before all others; nothing once they were given."""
        if self._begun:
            return b""
        self._begun = True
        return self._ogg.page(_HEAD, 0) + self._ogg.page(_TAGS, 0)

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
        missing = PACKET - len(self._waiting)
        padded = np.concatenate((self._waiting, np.zeros(missing, np.float32)))
        self._waiting = padded[:0]
        return self.header() + self._page(padded, last=True)

    def _page(self, samples: Pcm, *, last: bool = False) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._packets * PACKET
        (packet,) = self._codec.encode(frame)
        self._packets += 1
        granule = self._packets * PACKET * (_DECODED_RATE // SAMPLE_RATE)
        return self._ogg.page(bytes(packet), granule, last=last)


class OpusDecoder:
    """Pages in, samples out, however they are cut. Nothing is left out: as with all of Kyutai's
    readers the pre-skip is heard. Channels are mixed to one by the decoder."""

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
