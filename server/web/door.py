"""The door of the server: how many connections are kept, and for how long one may ask nothing."""

import asyncio
from collections.abc import Container
from weakref import WeakSet, ref

from aiohttp import web

from ..config import Bounds

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)
FULL_SECONDS = 1.0
HANDSHAKE_SECONDS = 10.0
"""For TLS."""


class Door:
    """Makes what answers each connection, for an event loop's server. As many are kept as the
    limits allow, others told that there are too many. One that has not `asked` for anything within
    the time of a request is cut off."""

    def __init__(
        self, server: web.Server, limits: Bounds, asked: Container[asyncio.BaseTransport]
    ) -> None:
        self._server, self._limits, self._asked = server, limits, asked
        self._guests: WeakSet[_Guest] = WeakSet()

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self._guests) >= self._limits.connections:
            return _Full()
        guest = _Guest(self._server(), self._guests)
        asyncio.get_running_loop().call_later(self._limits.request, self._look, ref(guest))
        return guest

    def _look(self, found: "ref[_Guest]") -> None:
        guest = found()
        transport = guest.connection.transport if guest is not None else None
        if transport is not None and transport not in self._asked:
            transport.abort()


class _Guest(asyncio.Protocol):
    """A connection that counts among `guests` from when it comes until it is lost; aiohttp's own
    server knows it only later, when hundreds may have come at once."""

    def __init__(self, connection: web.RequestHandler, guests: "WeakSet[_Guest]") -> None:
        self.connection, self._guests = connection, guests
        guests.add(self)
        self.data_received = connection.data_received  # type: ignore[method-assign]
        self.eof_received = connection.eof_received  # type: ignore[method-assign]
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]
        self.connection_made = connection.connection_made  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        self._guests.discard(self)
        self.connection.connection_lost(exc)


class _Full(asyncio.Protocol):
    """Says so, and hangs up once the client has asked: sooner, it might not hear it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(FULL)
        asyncio.get_running_loop().call_later(FULL_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.close()
