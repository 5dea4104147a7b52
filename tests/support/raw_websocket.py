"""A websocket by its bytes, so that a client can do what a library would not."""

import contextlib
import os
import socket
import struct
from typing import Any, Self

import msgpack

LISTEN = "/api/asr-streaming"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
SECONDS = 120.0


class Hung(Exception):  # noqa: N818
    """The other side is not there any more."""


class RawWebsocket:
    """One client, which gives up after `seconds`; `size` is that of its buffer to receive, if it is
    to be small."""

    def __init__(
        self, port: int, path: str = LISTEN, *, size: int | None = None, seconds: float = SECONDS
    ) -> None:
        self.socket = socket.socket()
        if size is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        self.socket.settimeout(seconds)
        try:
            self.answer = self._open(port, path)
            """The head of the answer to the request for a websocket."""
        except BaseException:
            self.socket.close()
            raise

    def _open(self, port: int, path: str) -> str:
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return self._until(b"\r\n\r\n").decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def status(self) -> int:
        return int(self.answer.split()[1])

    def send(self, data: bytes, kind: int = BINARY) -> None:
        self.write(frame(data, kind))

    def say(self, **message: Any) -> None:
        """A message of msgpack."""
        self.send(msgpack.packb(message, use_single_float=True))

    def write(self, data: bytes) -> None:
        """Raises Hung where nobody takes it."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Hung from error

    def receive_frame(self) -> tuple[int, bytes]:
        """The kind of the next frame and what is in it; raises Hung."""
        head = self._exactly(2)
        length = head[1] & 0x7F
        if length > 125:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8))
        return head[0] & 0x0F, self._exactly(length)

    def reported(self) -> dict[str, Any]:
        """The next message, which must come."""
        kind, data = self.receive_frame()
        assert kind == BINARY, (kind, data)
        message: dict[str, Any] = msgpack.unpackb(data)
        return message

    def end(self) -> int | None:
        """Reads to the end; the code of the frame that closes, 0 if it has none, None without."""
        with contextlib.suppress(Hung):
            while True:
                kind, data = self.receive_frame()
                if kind == CLOSE:
                    return int.from_bytes(data[:2]) if data else 0
        return None

    def abort(self) -> None:
        """Vanishes: a reset, and not a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            found += self._some(count - len(found))
        return found

    def _until(self, end: bytes) -> bytes:
        found = b""
        while not found.endswith(end):
            found += self._some(1)
        return found

    def _some(self, count: int) -> bytes:
        try:
            data = self.socket.recv(count)
        except ConnectionError as error:
            raise Hung from error
        if not data:
            raise Hung
        return data


def frame(data: bytes, kind: int = BINARY) -> bytes:
    """A whole frame of a client, masked by zeros."""
    return head(len(data), kind) + data


def head(length: int, kind: int = BINARY) -> bytes:
    """What precedes so many bytes."""
    first = bytes([0x80 | kind])
    if length < 126:
        return first + bytes([0x80 | length]) + bytes(4)
    if length < 1 << 16:
        return first + bytes([0x80 | 126]) + length.to_bytes(2) + bytes(4)
    return first + bytes([0x80 | 127]) + length.to_bytes(8) + bytes(4)


def noise(length: int) -> bytes:
    """Bytes that mean nothing."""
    return os.urandom(length)
