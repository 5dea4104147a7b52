"""Limits of connections: how many the server keeps, how many there are file descriptors for, and
for how long one may ask nothing or take nothing."""

import asyncio
import errno
import functools
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Optional
from weakref import WeakKeyDictionary, WeakSet, ref

from ..limits import Limits
from .client_timeout import call_after
from .logs import ThrottledLog, log
from .tls import TlsProtocol

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)
FULL_SECONDS = 1
SPARE = 16
"""Connections beyond the limit, for requests that probe the server."""
SLICE, FIRST_SLICE, LEAST_SLICE = 16 << 10, 2 << 10, 512
"""Bytes of a connection that one turn of the event loop parses: at most, of a new connection, at
least."""
SLICE_SECONDS = 0.0005
"""Seconds that a slice may take to parse. If it takes longer, as chunks or frames of one byte each
do, the next slice is smaller."""
TURN_SECONDS = 0.01
"""Seconds for which slices of all connections are parsed in one turn; after that they have the
least size."""
LEAST_TAKEN = 1024
"""Bytes a second that a client must read while any wait for it."""
SSL_SECONDS = 10
"""Seconds for a TLS handshake."""


DESCRIPTORS_EACH = 3
"""Descriptors of a connection: its own, one of the body that it posts, one of its decoder."""
OTHER_DESCRIPTORS = 32
"""Descriptors for everything else that a server opens while it runs."""
LEAST_CONNECTIONS = 4
"""Connections that a server takes in any case."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class ConnectionLimiter:
    """Make the protocol of each connection, on all ports of a server.

    It keeps at most `most` connections. A newcomer then takes the place of the connection that has
    been without a session for longest. If all have a session, a few more may probe the server, and
    the others are refused.
    """

    def __init__(self, limits: Limits, most: int) -> None:
        self._limits, self._most = limits, most
        self._kept: WeakSet[LimitedConnection] = WeakSet()
        self._spare: WeakSet[LimitedConnection] = WeakSet()
        self._idle: WeakKeyDictionary[LimitedConnection, None] = WeakKeyDictionary()
        """The connections without a session, the longest first."""
        self._over_tls: WeakSet[TlsProtocol] = WeakSet()
        self._full = ThrottledLog("too many connections")
        self._parsing_seconds = 0.0

    @property
    def is_turn_spent(self) -> bool:
        """Whether this turn of the event loop has parsed for long enough."""
        return self._parsing_seconds > TURN_SECONDS

    def spend(self, seconds: float) -> None:
        """Count the time of a slice in this turn of the event loop."""
        if not self._parsing_seconds:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._parsing_seconds += seconds

    def _end_turn(self) -> None:
        self._parsing_seconds = 0.0

    def opener(
        self,
        protocol: Callable[[], asyncio.Protocol],
        *,
        http: bool,
        tls: ssl.SSLContext | None = None,
    ) -> Callable[[], asyncio.BaseProtocol]:
        """Return the factory that an event loop's server calls for each connection, which
        `protocol` then answers."""

        def over_tls(context: ssl.SSLContext) -> asyncio.BaseProtocol:
            made = open_connection()
            if isinstance(made, LimitedConnection):
                seconds = FULL_SECONDS if made.spare else SSL_SECONDS
                ended = functools.partial(self.remove, made)
                secured = TlsProtocol(made, context, seconds, begun=made.begin, ended=ended)
            else:
                secured = TlsProtocol(made, context, FULL_SECONDS)
            self._over_tls.add(secured)
            return secured

        def open_connection() -> asyncio.BaseProtocol:
            spare = len(self._kept) >= self._most and not self._drop_idle()
            if spare:
                self._full.log(connections=len(self._kept))
            if spare and not (http and len(self._spare) < SPARE):
                return _Full(FULL if http else b"")
            return LimitedConnection(protocol(), self, self._limits, spare=spare)

        return open_connection if tls is None else functools.partial(over_tls, tls)

    def abort(self) -> None:
        """Reset all connections."""
        for connection in (*self._kept, *self._spare):
            connection.abort()

    async def close(self) -> None:
        """Reset the connections whose clients have not agreed to the end of TLS. asyncio would
        leave them to the garbage collector."""
        await asyncio.sleep(0)
        while any(tuple(secured.abort() for secured in tuple(self._over_tls))):
            await asyncio.sleep(0)

    def add(self, connection: "LimitedConnection") -> None:
        """Count a new connection."""
        if connection.spare:
            self._spare.add(connection)
        else:
            self._kept.add(connection)
            self.set_idle(connection)

    def set_idle(self, connection: "LimitedConnection") -> None:
        """Put a connection behind the others that have no session."""
        self.set_busy(connection)
        self._idle[connection] = None

    def set_busy(self, connection: "LimitedConnection") -> None:
        """Reserve the place of a connection."""
        self._idle.pop(connection, None)

    def remove(self, connection: "LimitedConnection") -> None:
        """Stop counting a connection."""
        self._kept.discard(connection)
        self._spare.discard(connection)
        self._idle.pop(connection, None)

    def _drop_idle(self) -> bool:
        connection = next(iter(self._idle), None)
        if connection is None:
            return False
        connection.abort()
        self.remove(connection)
        return True


class LimitedConnection(asyncio.BufferedProtocol):
    """Stands between a connection and the `protocol` that answers it; the limiter counts it until
    it is lost. It is aborted if it asks nothing for the time of a request, or if it takes next to
    nothing for the time of a stall. A `spare` one is for probes alone."""

    def __init__(
        self,
        protocol: asyncio.Protocol,
        limiter: ConnectionLimiter,
        limits: Limits,
        *,
        spare: bool = False,
    ) -> None:
        self._protocol, self._limiter, self._limits = protocol, limiter, limits
        self.spare = spare
        self._transport: asyncio.Transport | None = None
        self._raw: asyncio.BaseTransport | None = None
        """The transport below TLS, from the start of the handshake."""
        self._has_asked = self._aborted = False
        self._sessions = 0
        self._unsent = 0
        self._watch: asyncio.TimerHandle | None = None
        self._slice, self._slice_size = memoryview(bytearray(SLICE)), FIRST_SLICE
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        limiter.add(self)
        patience = FULL_SECONDS if spare else limits.request
        call_after(patience, functools.partial(_cut_off_silent, ref(self)))

    @staticmethod
    def of(transport: asyncio.BaseTransport | None) -> Optional["LimitedConnection"]:
        """Return the connection of a transport; None once it is lost."""
        found = transport.get_protocol() if transport is not None else None
        return found if isinstance(found, LimitedConnection) else None

    def ask(self) -> None:
        """Note a request."""
        self._has_asked = True
        if not self._sessions and not self.spare:
            self._limiter.set_idle(self)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Reserve the connection's place while the block runs."""
        self._sessions += 1
        self._limiter.set_busy(self)
        try:
            yield
        finally:
            self._sessions -= 1
            if not self._sessions and self._transport is not None and not self.spare:
                self._limiter.set_idle(self)

    def begin(self, raw: asyncio.BaseTransport) -> None:
        """Start a TLS handshake."""
        self._raw = raw
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        """Reset the connection, at once or as soon as it is made."""
        self._aborted = True
        transport = self._transport or self._raw
        if isinstance(transport, asyncio.Transport):
            _reset(transport)

    def cut_off_silent(self) -> None:
        """Reset the connection if it has not asked anything yet."""
        if not self._has_asked:
            self.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._slice[: LEAST_SLICE if self._limiter.is_turn_spent else self._slice_size]

    def buffer_updated(self, nbytes: int) -> None:
        started = time.thread_time()
        self._protocol.data_received(bytes(self._slice[:nbytes]))
        seconds = time.thread_time() - started
        self._limiter.spend(seconds)
        self.fit_slice(nbytes, seconds)

    def fit_slice(self, size: int, seconds: float) -> None:
        """Read less at once if parsing `size` bytes took long, more if it did not."""
        fitting = int(size * SLICE_SECONDS / max(seconds, 1e-6))
        self._slice_size = min(
            max(fitting, LEAST_SLICE, self._slice_size // 2), 2 * self._slice_size, SLICE
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=1)  # whatever is not taken at once is watched
        self._protocol.connection_made(transport)
        if self._aborted:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._raw = None
        self._limiter.remove(self)
        self._stop_watch()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        self._stop_watch()
        self._protocol.resume_writing()

    def _watch_taking(self) -> None:
        assert self._transport is not None
        self._unsent = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._limits.stall, self._check_taking)

    def _check_taking(self) -> None:
        if self._transport is None:
            return
        taken = self._unsent - self._transport.get_write_buffer_size()
        if taken < LEAST_TAKEN * self._limits.stall:
            self.abort()
        else:
            self._watch_taking()

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def _reset(transport: asyncio.Transport) -> None:
    """Close at once, with nothing left for the system to send."""
    raw = transport.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    transport.abort()


def _cut_off_silent(found: "ref[LimitedConnection]") -> None:
    """Reset without keeping alive a connection whose handshake failed."""
    connection = found()
    if connection is not None:
        connection.cut_off_silent()


class _Full(asyncio.Protocol):
    """Answer that the server is full, and close once the client has asked: before that, it might
    not read the answer."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._message:
            transport.close()
            return
        transport.write(self._message)
        asyncio.get_running_loop().call_later(FULL_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.close()


def affordable_connections(connections: int) -> int:
    """Return how many of `connections` the process has file descriptors for, after raising its
    limit as far as it may. Logs if there are fewer."""
    try:
        import resource
    except ImportError:  # Windows
        return connections
    used = _open_descriptors() + OTHER_DESCRIPTORS
    wanted = used + DESCRIPTORS_EACH * (connections + SPARE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _covers(soft, wanted):
        return connections
    most = wanted if _covers(hard, wanted) else hard
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if _covers(soft, wanted):
        return connections
    found = max(LEAST_CONNECTIONS, (soft - used) // DESCRIPTORS_EACH - SPARE)
    log("fewer connections", connections=found, asked=connections, descriptors=soft)
    return found


def _covers(limit: int, wanted: int) -> bool:
    import resource

    return limit == resource.RLIM_INFINITY or limit >= wanted


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return OTHER_DESCRIPTORS


@contextmanager
def logging_exhaustion(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Log connections that cannot be accepted for lack of descriptors in a line now and then; the
    event loop accepts again after a second. It would log a traceback for each try."""
    throttled = ThrottledLog("no more file descriptors")
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED and "socket" in context:
            throttled.log(why=error.strerror)
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
