"""Clients that send what nobody can read, or too much of it: they get a reason, and end alone."""

import contextlib
import re
import socket

import msgpack
import pytest
from support.raw_websocket import CLOSE, LISTEN, frame, head, noise
from support.siege import FRAME, GROWTH_MB, SECONDS, ended_by, entered, everything

from benchmarks.memory import resident_mb
from benchmarks.served import ServedProcess

TOO_BIG, MISUNDERSTOOD = 1009, 1007


def test_a_message_is_too_large(server: ServedProcess) -> None:
    before = resident_mb(server.pid)
    assert ended_by(server, head((8 << 20) + 1) + bytes(1 << 20)) == TOO_BIG
    assert resident_mb(server.pid) < before + 2 * GROWTH_MB


def test_a_message_is_as_large_as_may_be(server: ServedProcess) -> None:
    largest = (8 << 20) - 1
    audio = b"\x82\xa4type\xa5Audio\xa3pcm\xdd"
    samples = (largest - len(audio) - 4) // 5
    message = audio + samples.to_bytes(4) + b"\xca\0\0\0\0" * samples
    receive_frame = "a message of 69.9 s is received"
    with entered(server) as client:
        client.send(message)
        assert client.reported()["type"] == "Step", receive_frame
    for data in (noise(largest), message + bytes(largest - len(message))):
        assert ended_by(server, frame(data)) == MISUNDERSTOOD


MALFORMED = {
    "nothing": b"",
    "noise": bytes(range(1, 200)),
    "no map": msgpack.packb([1, 2]),
    "no type": msgpack.packb({"pcm": [0.0]}),
    "unknown type": msgpack.packb({"type": "Exec"}),
    "type is no text": msgpack.packb({"type": 7}),
    "cut short": msgpack.packb({"type": "Audio", "pcm": [0.5] * 100})[:-3],
    "an array that is not there": b"\x82\xa4type\xa5Audio\xa3pcm\xdd\xff\xff\xff\xff",
    "a map that is not there": b"\xdf\xff\xff\xff\xff",
    "deep": b"\x82\xa4type\xa5Audio\xa3pcm" + b"\x91" * 100_000,
    "wide and deep": b"\x82\xa4type\xa5Audio\xa3pcm" + b"\xdd\xff\xff\xff\xff" * 10_000,
    "pcm of texts": msgpack.packb({"type": "Audio", "pcm": ["a"]}),
    "pcm is no array": msgpack.packb({"type": "Audio", "pcm": 3}),
    "NaN": msgpack.packb({"type": "Audio", "pcm": [float("nan")] * 1920}),
    "infinite": msgpack.packb({"type": "Audio", "pcm": [float("-inf")]}),
    "beyond float32": msgpack.packb({"type": "Audio", "pcm": [1e300]}),
    "deafening": msgpack.packb({"type": "Audio", "pcm": [1e30]}),
    "a marker of text": msgpack.packb({"type": "Marker", "id": "x"}),
    "a marker beyond 64 bits": b"\x82\xa4type\xa6Marker\xa2id\xcf" + b"\xff" * 8,
    "Ogg of noise": msgpack.packb({"type": "OggOpus", "data": list(range(256))}),
    "Ogg of no packets": msgpack.packb({"type": "OggOpus", "data": list(b"OggS\0\2" + bytes(90))}),
    "Ogg of lies": msgpack.packb({"type": "OggOpus", "data": b"OggS\0\2" + b"\xff" * 70_000}),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_a_message_is_malformed(server: ServedProcess, message: bytes) -> None:
    """It ends the session, and the client gets the reason."""
    with entered(server) as client:
        client.send(message)
        client.say(type="Audio", pcm=FRAME)
        kind, data = client.receive_frame()
        assert kind == CLOSE, data
        assert int.from_bytes(data[:2]) == MISUNDERSTOOD
        assert len(data) > 10


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x05hello",  # not masked
        b"\xf2\x80\0\0\0\0",  # bits that mean nothing
        b"\x8f\x80\0\0\0\0",  # a kind that there is not
        b"\x80\x80\0\0\0\0",  # the rest of nothing
        b"\x82\xff" + b"\xff" * 8 + bytes(4),  # longer than can be
        b"\x89\xfe\x01\x00" + bytes(4 + 256),  # a ping that is too long
    ],
)
def test_a_frame_is_malformed(server: ServedProcess, data: bytes) -> None:
    with entered(server) as client:
        client.write(data)
        client.end()


@pytest.mark.parametrize(
    "request_",
    [
        noise(4000),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"GET " + LISTEN.encode() + b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n",
        b"POST "
        + LISTEN.encode()
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nRIFF",
        b"POST "
        + LISTEN.encode()
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nRIFF",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
        b"GET / HT",
    ],
)
def test_a_request_is_malformed(server: ServedProcess, request_: bytes) -> None:
    """It is refused, or the connection cut off after a while."""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as client:
        with contextlib.suppress(ConnectionError):  # refused before it was all sent
            client.sendall(request_)
        answer = everything(client)
        assert answer == b"" or re.match(rb"HTTP/1.[01] 4\d\d ", answer), answer[:100]


@pytest.mark.parametrize(
    "data",
    [
        noise(4000),
        b"{}\n",
        b'{"type": "audio-start", "data": {"rate": -1, "width": 2, "channels": 1}}\n',
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n' + bytes(1000),
        b'{"type": "transcribe"}\n{"type": "audio-start", "data": {"rate": 16000, "width": 2, '
        b'"channels": 1}}\n{"type": "audio-chunk", "payload_length": 1000}\n' + bytes(500),
        b"[" * 100_000,
        b"a" * (2 << 20),
    ],
)
def test_wyoming_is_malformed(server: ServedProcess, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.wyoming_port), SECONDS) as client:
        with contextlib.suppress(OSError):  # refused before it was all sent
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        everything(client)
