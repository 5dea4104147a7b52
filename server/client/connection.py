"""A websocket to a server: where the server is, what can go wrong with it, and its models."""

import contextlib
import logging
import os
import re
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from ...models.families import FAMILIES, Task
from ...models.options import Offered, StreamOptions, given, parameters
from ...runtime.bundle.dataclass_json import parse_json
from ...runtime.errors import KyutaiOnnxError, UsageError
from ..web.auth import HEADER
from ..web.tls import SPEAKS_TLS, fingerprint
from ..wire.messagepack import MAX_BYTES

NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""What OpenSSL calls an answer that is no TLS."""
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True)
class Address:
    """The URL of a server, http or https without a slash at its end, the key that opens it, and the
    fingerprint of its certificate, if that is what it is known by."""

    url: str
    key: str | None = field(default=None, repr=False)
    fingerprint: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a request shows."""
        return {HEADER: self.key} if self.key is not None else {}


def parse_address(url: str, key: str | None = None, pin: str | None = None) -> Address:
    """The address that a user means by a URL of http, https, ws or wss, or by `host:port`, which is
    https if a fingerprint is given.

    Raises UsageError for what is none, for a key that cannot be sent, and for a fingerprint that is
    none or has no certificate.
    """
    usual = "http" if pin is None else "https"
    full = url if "://" in url else f"{usual}://{url}"
    try:
        parts = urlsplit(full)
        found = parts.hostname and SCHEMES.get(parts.scheme), parts.port
    except ValueError:
        found = None, None
    if not found[0] or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--server {url}: give a URL such as http://127.0.0.1:8998")
    if key is not None and not (key.isascii() and key.isprintable() and key):
        raise UsageError("--api-key: a key is of printable ASCII")
    if pin is not None and found[0] != "https":
        raise UsageError(f"--tls-fingerprint: {url} has no certificate; give a URL of https")
    known = None if pin is None else _parse_fingerprint(pin)
    return Address(f"{found[0]}://{parts.netloc}{parts.path.rstrip('/')}", key, known)


def _parse_fingerprint(text: str) -> str:
    digits = re.sub(r"^sha256 fingerprint=", "", text.strip(), flags=re.IGNORECASE).replace(":", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise UsageError(
            f"--tls-fingerprint {text[:100]}: give the 64 hexadecimal digits that 'serve "
            "--tls-self-signed' or 'openssl x509 -fingerprint -sha256' prints"
        )
    return bytes.fromhex(digits).hex(":").upper()


class _PinnedContext(ssl.SSLContext):
    """Trusts the certificate of an address alone, whoever has signed it. Nothing is sent, not even
    a key, before it is known."""

    address: Address

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:
        """Raises ServerError if the certificate is another one."""
        wrapped = super().wrap_socket(*given, **named)
        shown = fingerprint(wrapped.getpeercert(binary_form=True) or b"")
        if shown != self.address.fingerprint:
            wrapped.close()
            raise mistaken(self.address, shown)
        return wrapped


def pinned_context(address: Address) -> ssl.SSLContext | None:
    """The context of TLS for a server that is known by its certificate; None if the system's
    authorities decide."""
    if address.fingerprint is None:
        return None
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.address = address
    return context


class ServerError(KyutaiOnnxError):
    """A server that does not answer, does not let us in, has no room, or broke off."""


def unreachable(address: Address, why: object) -> ServerError:
    """Nobody answers, or not as a server of ours does."""
    return ServerError(
        f"{address.url}: cannot be reached ({why}); is 'kyutai-onnx serve' running there?"
    )


def distrusted(address: Address, why: object) -> ServerError:
    """Its certificate is not one that is known."""
    return ServerError(
        f"{address.url}: its certificate is not trusted ({why}); give its '--tls-fingerprint', or "
        "name it by SSL_CERT_FILE"
    )


def mistaken(address: Address, shown: str) -> ServerError:
    """Its certificate is another one."""
    return ServerError(
        f"{address.url}: its certificate is {shown}, not {address.fingerprint}; see what 'serve' "
        "printed"
    )


def in_plain(address: Address) -> ServerError:
    """It does not speak TLS."""
    plain = address.url.replace("https", "http", 1)
    return ServerError(f"{address.url}: this port does not speak TLS; give '--server {plain}'")


def refused(address: Address, status: int, said: str = "") -> ServerError:
    """It answered a request by a status that is an error."""
    if status == 401:
        way = "check '--api-key'" if address.key else "give '--api-key KEY'"
        return ServerError(f"{address.url}: does not let us in without the right key; {way}")
    if status in (429, 503):
        return busy(address, said)
    if said == SPEAKS_TLS:
        secure = address.url.replace("http", "https", 1)
        return ServerError(f"{address.url}: this port speaks TLS; give '--server {secure}'")
    what = f"{status} {said}".strip()
    return ServerError(f"{address.url}: refused ({what}); is it 'kyutai-onnx serve'?")


def busy(address: Address, said: str) -> ServerError:
    """There is no room."""
    return ServerError(
        f"{address.url}: is busy ({said or 'no room'}); try again later, or give it more '--slots'"
    )


def broken(address: Address, why: str) -> ServerError:
    """It was lost amid its work."""
    return ServerError(
        f"{address.url}: broke off ({why}); what came before is kept: see its log, and try again"
    )


CONNECT_SECONDS = 10.0
CLOSE_SECONDS, LOOK_SECONDS = 2.0, 0.5
SILENCE_SECONDS = 60.0
"""A server pings every ten; for so long without any frame it is given up."""
PIECE = 1 << 14
"""Bytes that are sent at once: while they are, nothing is received."""
SILENT = logging.getLogger("kyutai_onnx.server.client")
"""For what websockets logs: the errors are raised here."""
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
PEACEFUL = (1000, 1005)
"""Codes of a frame that closes: moshi-server gives none, which is 1005."""


class _Socket(ClientConnection):
    """Knows when its last frame came, of any kind."""

    last_frame = 0.0

    def process_event(self, event: Any) -> None:
        self.last_frame = time.monotonic()
        super().process_event(event)


class _LeftError(Exception):
    """The connection is over while something was to be sent."""


class Connection:
    """A websocket, open once it is made. Its methods belong to one thread; `news`, which several
    connections may share, is notified whenever there is something to take, or room to send.

    Raises ServerError if it cannot be opened.
    """

    def __init__(
        self,
        address: Address,
        path: str,
        query: Mapping[str, str],
        news: threading.Condition | None = None,
    ) -> None:
        self._address = address
        self.news = news or threading.Condition()
        self._received: list[bytes] = []
        self._outbox: deque[tuple[bytes, float]] = deque()
        self._closing = threading.Event()
        self._over = False
        self._failure: ServerError | None = None
        self._opened = contextlib.ExitStack()
        self._socket = self._open(path, query)
        self._sender = threading.Thread(target=self._send_all, name="client", daemon=True)
        self._sender.start()
        threading.Thread(target=self._receive_all, name="client", daemon=True).start()

    def send(self, data: bytes, due: float = 0.0) -> None:
        """Sends it when all before it is sent, not before the monotonic clock shows `due`."""
        with self.news:
            self._outbox.append((data, due))
            self.news.notify_all()

    @property
    def unsent(self) -> int:
        """Messages that wait to be sent."""
        return 0 if self._over else len(self._outbox)

    @property
    def over(self) -> bool:
        """Whether the server has closed, or was lost."""
        return self._over

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or nothing more will be."""
        return bool(self._received) or self._over

    def take(self) -> list[bytes]:
        """The messages of the server since the last time."""
        with self.news:
            received, self._received = self._received, []
        return received

    def check(self) -> None:
        """Raises ServerError if the server was lost, or closed and said why."""
        if self._failure is not None:
            raise self._failure

    def wait(self, seconds: float = 1.0) -> None:
        """Until there is news."""
        with self.news:
            self.news.wait_for(lambda: self.has_news, seconds)

    def close(self) -> None:
        """Leaves, whatever is left."""
        with self.news:
            self._over = True
            self._closing.set()
            self.news.notify_all()
        self._sender.join(CLOSE_SECONDS)
        if self._sender.is_alive():  # the server takes nothing
            with contextlib.suppress(OSError):
                self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._opened.close()

    def _open(self, path: str, query: Mapping[str, str]) -> _Socket:
        url = f"ws{self._address.url.removeprefix('http')}{path}?{urlencode(query)}"
        try:
            opened = self._opened.enter_context(
                connect(
                    url,
                    create_connection=_Socket,
                    additional_headers=self._address.headers,
                    open_timeout=CONNECT_SECONDS,
                    close_timeout=CLOSE_SECONDS,
                    ping_interval=None,
                    max_size=MAX_BYTES,
                    compression=None,
                    proxy=None,
                    logger=SILENT,
                    ssl=pinned_context(self._address),
                )
            )
        except (WebSocketException, OSError, ValueError) as error:
            raise failure_of(self._address, error) from None
        assert isinstance(opened, _Socket)
        return opened

    def _receive_all(self) -> None:
        failure: ServerError | None = None
        try:
            while True:
                try:
                    data = self._socket.recv(SILENCE_SECONDS)
                except TimeoutError:
                    if time.monotonic() - self._socket.last_frame < SILENCE_SECONDS:
                        continue
                    failure = broken(self._address, f"nothing came for {SILENCE_SECONDS:.0f} s")
                    return
                if isinstance(data, bytes):
                    with self.news:
                        self._received.append(data)
                        self.news.notify_all()
        except ConnectionClosed as closed:
            failure = self._how_it_closed(closed)
        finally:
            with self.news:
                if not self._closing.is_set():
                    self._failure = failure
                self._over = True
                self.news.notify_all()

    def _how_it_closed(self, closed: ConnectionClosed) -> ServerError | None:
        if closed.rcvd is None:
            return broken(self._address, "the connection was lost")
        if closed.rcvd.code in PEACEFUL:
            return None
        return broken(self._address, closed.rcvd.reason or f"code {closed.rcvd.code}")

    def _send_all(self) -> None:
        with contextlib.suppress(ConnectionClosed, _LeftError):
            while True:
                with self.news:
                    self.news.wait_for(lambda: self._outbox or self._over)
                    if self._over:
                        return
                    data, due = self._outbox[0]
                if self._closing.wait(max(0.0, due - time.monotonic())):
                    return
                if len(data) > PIECE:
                    self._socket.send(self._pieces(data))
                else:
                    self._await_room()
                    self._socket.send(data)
                with self.news:
                    self._outbox.popleft()
                    self.news.notify_all()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE):
            self._await_room()
            yield data[start : start + PIECE]

    def _await_room(self) -> None:
        """Waits until the server takes more; raises _LeftError if the connection is over first."""
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self._socket.socket, selectors.EVENT_WRITE)
            except ValueError:  # closed meanwhile
                raise _LeftError from None
            while not selector.select(LOOK_SECONDS):
                if self._over:
                    raise _LeftError


def failure_of(address: Address, error: Exception) -> ServerError:
    """The one line for what stood in the way of a request."""
    if isinstance(error, InvalidStatus):
        return refused(address, error.response.status_code, said_in(bytes(error.response.body)))
    if isinstance(error, ssl.SSLCertVerificationError):
        return distrusted(address, error.verify_message)
    if isinstance(error, ssl.SSLError):
        return in_plain(address) if error.reason in NO_TLS else unreachable(address, error.reason)
    if isinstance(error, TimeoutError):
        return unreachable(address, f"no answer for {CONNECT_SECONDS:.0f} s")
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return unreachable(address, os.strerror(error.errno))
    return unreachable(address, str(error) or type(error).__name__)


def said_in(body: bytes) -> str:
    """The message of an answer that is an error, as JSON or a line; nothing if none is short."""
    try:
        message = parse_json(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace").strip()
    short = isinstance(message, str) and len(message) < 200 and message.isprintable()
    return message if short and not message.startswith("<") else ""


@dataclass(frozen=True)
class ModelInfo:
    """What a server says of a model: see `ServedModel.about`."""

    id: str
    family: str
    path: str
    slots: int
    precision: str
    sample_rate: int
    frame_size: int
    greedy: bool
    heads: int
    lead: float
    delay: float

    @property
    def task(self) -> Task | None:
        """What it is for; None if this program does not know its family."""
        known = FAMILIES.get(self.family)
        return known.task if known is not None and known.socket is not None else None

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size


def query_of(options: StreamOptions, here: Collection[str] = ()) -> dict[str, object]:
    """The query that asks a server for options, but for those that are used `here`. Raises
    UsageError for one that servers do not offer."""
    chosen, offered = given(options), parameters(type(options), Offered.CLIENTS)
    for name in chosen:
        if name not in offered and name not in here:
            raise UsageError(f"{name}: not over a server; leave it out")
    return {name: value for name, value in chosen.items() if name in offered}


Connections = weakref.WeakSet[Connection]


class RemoteModel:
    """A model on a server; `connections` takes those that are opened, to be closed with it."""

    def __init__(self, address: Address, info: ModelInfo, connections: Connections) -> None:
        self.address, self.info, self._connections = address, info, connections
        self.name, self.precision, self.family = info.id, info.precision, info.family
        self.sample_rate, self.frame_size = info.sample_rate, info.frame_size
        self.frame_rate = info.frame_rate

    def connect(
        self, query: Mapping[str, object], news: threading.Condition | None = None
    ) -> Connection:
        """A session; what of the query is None is left out. Raises ServerError."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        asked = {"model": self.info.id, **given}
        connection = Connection(self.address, self.info.path, asked, news)
        self._connections.add(connection)
        return connection
