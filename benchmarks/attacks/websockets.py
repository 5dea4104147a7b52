"""Websockets: crafted audio, bombs, floods, and clients that only begin or never read."""

import contextlib
import json
import secrets
import threading
import time

from tests.support.raw_websocket import LISTEN, PING, Hung, RawWebsocket, frame, head

from .catalogue import attack
from .parameters import CHAT, SPEAK
from .payloads import (
    MB,
    deflated,
    empty_pages,
    opus_heads,
    opus_message,
    packed,
    silence,
    tiny_packets,
)
from .target import Target, request_head
from .uploads import JSON, SPEECH

CLIENTS = 4


LARGEST = 8 * MB - 200
"""Bytes of a message, just under the most that a server takes by default."""


def _send(target: Target, data: bytes, path: str = LISTEN) -> None:
    """Frames of a client that reads until it is closed."""
    with target.websocket(path) as client:
        if client.status != 101:
            target.count(client.status)
            return
        target.write(client.socket, data)
        target.end_of(client)


@attack()
def opus_tiny_packets(target: Target) -> None:
    """three clients with messages of 1 MB of Opus in packets of 2.5 ms"""
    data = frame(opus_message(tiny_packets(24_000, 41)))

    def send(_: int) -> None:
        with target.websocket() as client:
            target.write(client.socket, data)
            client.send(packed(type="Eos"))
            target.end_of(client)

    target.again(3, send)


@attack("chat")
def opus_tiny_packets_in_talks(target: Target) -> None:
    """messages of 28 KB of Opus in packets of 2.5 ms and one byte to /api/chat"""
    data = frame(b"\x01" + tiny_packets(23_000, 1))

    def send(_: int) -> None:
        with target.websocket(CHAT) as client:
            target.write(client.socket, data)
            target.end_of(client, 1.0)

    target.again(3, send)


@attack()
def opus_heads_only(target: Target) -> None:
    """messages of 20,000 streams of Opus, each of which only begins"""
    data = frame(opus_message(opus_heads(20_000)))
    target.again(3, lambda _: _send(target, data))


@attack()
def ogg_empty_pages(target: Target) -> None:
    """messages of 32,000 pages without packets"""
    data = frame(opus_message(empty_pages(32_000)))
    target.again(3, lambda _: _send(target, data))


@attack()
def msgpack_bombs(target: Target) -> None:
    """messages of 8 MB of msgpack: mixed numbers, maps, nesting, bytes as integers"""
    audio = b"\x82\xa4type\xa5Audio\xa3pcm\xdd"
    count = LARGEST // 5
    messages = [
        audio + count.to_bytes(4) + b"\xca\0\0\0\0" * (count - 1) + b"\x01",
        b"\xdf" + (LARGEST // 3).to_bytes(4) + b"\xa1a\xc0" * (LARGEST // 3),
        audio + count.to_bytes(4) + b"\x91" * LARGEST,
        b"\x82\xa4type\xa7OggOpus\xa4data\xdd" + LARGEST.to_bytes(4) + bytes(LARGEST),
    ]
    target.again(len(messages), lambda number: _send(target, frame(messages[number])))


@attack()
def audio_ahead(target: Target) -> None:
    """three clients that send nine minutes of audio in eight messages of 8 MB"""
    data = frame(silence(LARGEST // 5)) * 8
    target.together(3, lambda _: _send(target, data))


@attack()
def frames_that_never_end(target: Target) -> None:
    """one message in fragments of one byte, without a last one"""
    piece = b"\x00\x81\0\0\0\0a" * 8192

    def send(_: int) -> None:
        with target.websocket() as client:
            client.write(b"\x02" + piece[1:])
            while target.running and target.write(client.socket, piece):
                pass
            target.end_of(client)

    target.together(CLIENTS, send)


@attack()
def one_frame_trickled(target: Target) -> None:
    """100 clients that announce a frame of 60 MB and send a byte a second"""

    def send(_: int) -> None:
        with target.websocket() as client:
            client.write(head(60 * MB))
            while target.pause(1.0) and target.write(client.socket, b"a"):
                pass
            target.end_of(client)

    target.together(100, send)


def _flood(target: Target, data: bytes) -> None:
    """Write the same over and over while another thread reads all that comes."""
    with target.websocket() as client:
        reader = threading.Thread(target=target.end_of, args=(client,), daemon=True)
        reader.start()
        while target.running and target.write(client.socket, data):
            pass
        reader.join(target.left)


@attack()
def ping_floods(target: Target) -> None:
    """four clients that send pings as fast as they can, two of which read the answers"""
    data = frame(bytes(125), PING) * 1000

    def send(number: int) -> None:
        if number % 2:
            _flood(target, data)
            return
        with target.websocket() as client:
            while target.running and target.write(client.socket, data):
                pass

    target.together(CLIENTS, send)


@attack()
def marker_floods(target: Target) -> None:
    """four clients that send markers, beginnings and single samples as fast as they can"""
    some = [packed(type="Marker", id=1), packed(type="Init"), packed(type="Audio", pcm=[0.0])]
    data = b"".join(frame(message) for message in some) * 500
    target.together(CLIENTS, lambda _: _flood(target, data))


@attack()
def deflate_bombs(target: Target) -> None:
    """frames compressed from 1 GB to 1 MB, asked for or not (permessage-deflate)"""
    bomb = deflated(1 << 30)
    data = b"\xc2" + head(len(bomb))[1:] + bomb
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    asked = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", key]
    asked += ["Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"]

    def send(_: int) -> None:
        with target.connect() as client:
            request = request_head("GET", LISTEN, None, *asked)
            client.sendall(request.replace(b"Connection: close", b"Connection: Upgrade"))
            target.write(client, data)
            target.count(target.status(client))

    target.again(CLIENTS, send)


@attack()
def slow_handshakes(target: Target) -> None:
    """400 websockets whose handshake comes byte by byte"""
    request = request_head("GET", LISTEN, None, "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    clients = [target.connect() for _ in range(400)]
    for byte in request:
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(bytes([byte]))
        if not target.pause(0.2):
            break
    target.hold(clients)


@attack()
def half_closed_websockets(target: Target) -> None:
    """websockets that end their side after the handshake and stay"""
    clients: list[RawWebsocket] = []
    while target.running and len(clients) < 200:
        with contextlib.suppress(Hung, OSError):
            client = target.websocket()
            client.socket.shutdown(1)
            clients.append(client)
    target.hold(client.socket for client in clients)


@attack()
def unread_speech(target: Target) -> None:
    """eight clients who ask for long speech and never read it"""
    text = "the train to boston leaves at nine fifty. " * 2000
    body = json.dumps({"input": text, "response_format": "wav"}).encode()
    clients = []
    for number in range(8):
        if number % 2:
            client = target.connect()
            head = request_head("POST", SPEECH, len(body), f"Content-Type: {JSON}")
            client.sendall(head + body)
        else:
            client = target.websocket(f"{SPEAK}?format=PcmMessagePack").socket
            client.sendall(frame(packed(type="Text", text=text)))
        clients.append(client)
    target.hold(clients)


@attack()
def noise_as_messages(target: Target) -> None:
    """frames of noise and of every kind, one session each"""

    def send(_: int) -> None:
        kind = secrets.randbelow(16)
        _send(target, frame(secrets.token_bytes(secrets.randbelow(5000)), kind))
        time.sleep(0.01)

    target.again(CLIENTS, send)
