"""Ogg pages (RFC 3533): one packet a page written, packets of any paging read."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ProtocolError

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
    """A packet; `first` where it is the first of a logical stream."""

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
    tells whether the last page of the stream was read."""

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
        """The size of the page there, 0 where it is not yet whole."""
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
