"""What an attack is given: the server, the time it has, and a tally of what it gets back."""

import contextlib
import math
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw_websocket import CLOSE, LISTEN, Hung, RawWebsocket

HOST = "127.0.0.1"
PIECE = 1 << 16
"""Bytes written at once, so that a client notices that its time is over."""
MOST_STATUSES = 40
LAST_SECONDS = 1.0
"""For clients to notice that their time is over."""


@dataclass
class Target:
    """A server on loopback, attacked for `seconds`, or until each client of an attack that repeats
    itself has done so `rounds` times. Raises nothing for what the server does to the client:
    `statuses` counts it."""

    port: int
    wyoming_port: int
    pid: int
    seconds: float
    rounds: float = math.inf
    statuses: Counter[str] = field(default_factory=Counter)
    _end: float = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds that are left, a little more than 0 at least."""
        return max(self._end - time.monotonic(), 0.01)

    @property
    def running(self) -> bool:
        return time.monotonic() < self._end

    def pause(self, seconds: float) -> bool:
        """Wait, not beyond the end; whether time is left."""
        time.sleep(min(seconds, self.left))
        return self.running

    def count(self, status: object) -> None:
        """Add to the tally."""
        name = str(status)
        if name in self.statuses or len(self.statuses) < MOST_STATUSES:
            self.statuses[name] += 1

    def connect(self, port: int | None = None) -> socket.socket:
        """A connection whose calls end with the attack."""
        return socket.create_connection((HOST, port or self.port), self.left)

    def websocket(self, path: str = LISTEN) -> RawWebsocket:
        """One whose calls end with the attack."""
        return RawWebsocket(self.port, path, seconds=self.left)

    def write(self, client: socket.socket, data: bytes) -> bool:
        """Write all of it; False if the time or the server's patience is over."""
        view = memoryview(data)
        try:
            for start in range(0, len(view), PIECE):
                client.settimeout(self.left)
                client.sendall(view[start : start + PIECE])
        except OSError:
            return False
        return True

    def post(self, path: str, body: bytes, kind: str, *headers: str) -> str:
        """Post a body and count the status of the answer, which is read to its end."""
        return self.ask("POST", path, body, f"Content-Type: {kind}", *headers)

    def ask(self, method: str, path: str, body: bytes, *headers: str) -> str:
        """Send a request on a connection of its own; count and return what comes back."""
        head = request_head(method, path, len(body), *headers)
        status = "no connection"
        with contextlib.suppress(OSError), self.connect() as client:
            self.write(client, head + body)
            status = self.status(client)
        self.count(status)
        return status

    def status(self, client: socket.socket) -> str:
        """Read an answer to its end; its status, or how the connection ended."""
        found = b""
        try:
            while True:
                client.settimeout(self.left)
                data = client.recv(PIECE)
                if not data:
                    break
                found = found or data
        except TimeoutError:
            return status_of(found) if found else "no answer"
        except OSError:
            return status_of(found) if found else "reset"
        return status_of(found) if found else "closed"

    def end_of(self, client: RawWebsocket, seconds: float = math.inf) -> None:
        """Read a websocket to its end, or for so long; count the code that closes it."""
        self.count(self._end_of(client, time.monotonic() + seconds))

    def _end_of(self, client: RawWebsocket, end: float) -> str:
        try:
            while True:
                client.socket.settimeout(max(min(self.left, end - time.monotonic()), 0.01))
                kind, data = client.receive_frame()
                if kind == CLOSE:
                    return f"ws {int.from_bytes(data[:2]) if data else 'closed'}"
        except TimeoutError:
            return "ws open"
        except (Hung, OSError):
            return "ws dropped"

    def together(self, count: int, work: Callable[[int], Any]) -> None:
        """Run so many clients side by side, each with its number, until all are done or the time is
        over."""
        clients = [threading.Thread(target=self._one, args=(work, n)) for n in range(count)]
        for client in clients:
            client.daemon = True
            client.start()
        for client in clients:
            client.join(self.left + LAST_SECONDS)

    def again(self, count: int, work: Callable[[int], Any]) -> None:
        """Let so many clients do the same over and over."""

        def repeat(number: int) -> None:
            done = 0
            while self.running and done < self.rounds:
                self._one(work, number)
                done += 1

        self.together(count, repeat)

    def _one(self, work: Callable[[int], Any], number: int) -> None:
        try:
            work(number)
        except (OSError, Hung, ssl.SSLError) as error:
            self.count(type(error).__name__)
            time.sleep(0.05)

    def hold(self, clients: Iterable[socket.socket]) -> None:
        """Keep connections open to the end, then count how many the server had ended."""
        kept = list(clients)
        self.pause(self.seconds)
        for client in kept:
            self.count(ending(client))
            client.close()


def request_head(method: str, path: str, length: int | None, *headers: str) -> bytes:
    """The head of a request that is the only one of its connection; `length` None leaves it out."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer: bytes) -> str:
    """The status of an answer that begins so."""
    words = answer[:16].split()
    return words[1].decode("ascii", "replace") if answer[:5] == b"HTTP/" and words[1:] else "other"


def ending(client: socket.socket) -> str:
    """What has become of a connection that was kept open."""
    found = b""
    client.setblocking(False)
    try:
        while data := client.recv(PIECE):
            found = found or data
    except BlockingIOError:
        return f"open {status_of(found)}" if found else "open"
    except OSError:
        return status_of(found) if found else "reset"
    return status_of(found) if found else "closed"


def reset(client: socket.socket) -> None:
    """Leave without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
