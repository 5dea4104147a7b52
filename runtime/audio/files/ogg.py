"""Whether an Ogg file is all there: its last page says so, and libsndfile does not ask."""

import io
from typing import BinaryIO

_LARGEST_PAGE = 65307
_HEADER_BYTES = 27
_LAST_PAGE = 0x04


def is_complete(stream: BinaryIO) -> bool:
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
