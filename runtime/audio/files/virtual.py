"""A Python stream as libsndfile reads it through callbacks."""

import io
from typing import BinaryIO


class VirtualFile:
    """A seekable stream from `start` on, behind `prefix`, as libsndfile's virtual I/O reads it.

    Its methods run in C callbacks, where an exception would be printed and lost: the first one
    is kept for `check`.
    """

    def __init__(self, stream: BinaryIO, start: int = 0, prefix: bytes = b"") -> None:
        self._stream = stream
        self._start = start
        self._prefix = prefix
        self._position = 0
        self._size = len(prefix) + stream.seek(0, io.SEEK_END) - start
        self._error: BaseException | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` with the next bytes; returns how many there were."""
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, count: int) -> bytes:
        head = self._prefix[self._position : self._position + count]
        inside = max(self._position - len(self._prefix), 0)
        try:
            self._stream.seek(self._start + inside)
            data = head + self._stream.read(count - len(head))
        except BaseException as error:
            self._error = self._error or error
            return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Bytes before the next one."""
        return self._position

    def check(self) -> None:
        """Raise what a callback could not."""
        if self._error:
            raise self._error
