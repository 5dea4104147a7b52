"""What tests of faults share: the server's settings, and ways to get into it."""

import socket

from support.raw_websocket import RawWebsocket

from benchmarks.served import ServedProcess

SLOTS, CONNECTIONS = 5, 60
SECONDS = 30.0
"""After which a slot must be free again; the limits below are far shorter."""
SETTINGS = f"""
wyoming_port = 0
[[models]]
task = "stt"
slots = {SLOTS}
[limits]
rate = "none"
silence = 6.0
stall = 6.0
request = 2.0
connections = {CONNECTIONS}
"""
GROWTH_MB = 8.0
"""What a server may hold more after thousands of clients: caches, and what malloc keeps."""
FRAME = [0.0] * 1920


def used(server: ServedProcess) -> int:
    """Slots that are taken; none can be asked for while there are too many connections."""
    try:
        return server.used
    except OSError:
        return -1


def entered(server: ServedProcess, **options: int) -> RawWebsocket:
    client = RawWebsocket(server.port, **options)
    assert client.reported() == {"type": "Ready"}
    return client


def ended_by(server: ServedProcess, data: bytes) -> int | None:
    """How the server closes on a client that writes this."""
    with entered(server) as client:
        client.write(data)
        return client.end()


def everything(client: socket.socket) -> bytes:
    """What comes until the other side ends, or has said all it has to say."""
    found = b""
    try:
        while data := client.recv(1 << 16):
            found += data
            if b"\r\n\r\n" in found:
                break
    except ConnectionError:
        pass
    return found
