"""Connections: too many, too slow, half open, and in another protocol."""

import contextlib
import itertools
import secrets
import socket

from .catalogue import attack
from .target import Target, request_head, reset

RESETS = 2000
CROWD = 530
"""A few more than are kept."""
PIPELINED = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500


def _crowd(target: Target, count: int, data: bytes = b"") -> list[socket.socket]:
    """So many connections, as far as they come about, each of which has sent this."""
    clients = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            client = target.connect()
            clients.append(client)
            client.sendall(data)
    return clients


@attack()
def nothing(target: Target) -> None:
    """no attack: what the machine does by itself"""
    target.pause(target.seconds)


@attack()
def silent_crowd(target: Target) -> None:
    """530 connections that ask for nothing"""
    target.hold(_crowd(target, CROWD))


@attack()
def slow_headers(target: Target) -> None:
    """400 requests whose header comes byte by byte"""
    clients = _crowd(target, 400, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    while target.pause(0.3):
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(b"a")
    target.hold(clients)


@attack()
def unread_pages(target: Target) -> None:
    """530 connections that pipeline GET /page.js and never read"""
    clients = _crowd(target, CROWD)
    for client in clients:
        client.setblocking(False)
    while target.pause(0.2):
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(PIPELINED)
    target.hold(clients)


@attack()
def half_closed_sockets(target: Target) -> None:
    """400 connections that end their side within a request and stay"""
    clients = _crowd(target, 400, b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nCont")
    for client in clients:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
    target.hold(clients)


@attack()
def resets(target: Target) -> None:
    """2,000 connections that are opened and reset, most of them within a request"""
    starts = itertools.cycle((b"", b"GET / HTTP", PIPELINED[:2000], request_head("GET", "/", None)))
    left = itertools.islice(starts, RESETS)

    def open_and_reset(_: int) -> None:
        for data in left:
            if not target.running:
                return
            client = target.connect()
            client.sendall(data)
            reset(client)
            target.count("reset by us")

    # An iterator is shared by one client alone: generators are not for several threads.
    target.together(1, open_and_reset)


@attack()
def many_headers(target: Target) -> None:
    """requests with 10,000 headers, with one of a megabyte, and with a path of a megabyte"""
    requests = [
        request_head("GET", "/", None, *["X-A: b"] * 10_000),
        request_head("GET", "/", None, "X-A: " + "b" * (1 << 20)),
        request_head("GET", "/" + "a" * (1 << 20), None),
        request_head("GET", "/?" + "a=b&" * 2000, None),
        request_head("GET", "/", None, "Cookie: " + "a=b; " * 1500),
    ]

    def ask(_: int) -> None:
        for data in requests:
            with target.connect() as client:
                target.write(client, data)
                target.count(target.status(client))

    target.again(4, ask)


@attack()
def page_flood(target: Target) -> None:
    """four clients that pipeline pages and metrics and read what comes"""
    data = b"".join(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for path in ("/page.js", "/metrics", "/ready", "/nothing", "/v1/models")
    )

    def ask(_: int) -> None:
        with target.connect() as client:
            for _ in range(20):
                client.sendall(data * 10)
                client.recv(1 << 20)

    target.again(4, ask)


@attack()
def probes_of_others(target: Target) -> None:
    """/health and /ready without a Host header, and with a foreign one"""
    heads = [
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /ready HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 10.0.0.7:8998\r\nConnection: close\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nHost: probe.example\r\nConnection: close\r\n\r\n",
    ]
    for data in heads:
        with target.connect() as client:
            client.sendall(data)
            target.count(target.status(client))


@attack()
def tls_to_a_plain_port(target: Target) -> None:
    """beginnings of TLS and noise on a port that speaks HTTP"""
    hello = bytes.fromhex("16030102000100") + b"\x01\xfc\x03\x03"

    def send(_: int) -> None:
        with target.connect() as client:
            target.write(client, hello + secrets.token_bytes(500))
            client.settimeout(min(2.0, target.left))
            target.count(target.status(client))

    target.again(4, send)


@attack("tls")
def http_to_a_tls_port(target: Target) -> None:
    """plain HTTP and noise on a port that speaks TLS"""

    def send(number: int) -> None:
        with target.connect() as client:
            noise = secrets.token_bytes(500)
            target.write(client, request_head("GET", "/", None) if number % 2 else noise)
            target.count(target.status(client))

    target.again(4, send)


@attack("tls")
def unfinished_tls(target: Target) -> None:
    """600 connections that never finish TLS's handshake"""
    target.hold(_crowd(target, 600, b"\x16\x03"))


@attack("few-files")
def few_files(target: Target) -> None:
    """200 connections to a server that may open 128 files"""
    clients = _crowd(target, 200, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    target.hold(clients)
