"""Clients that break rules, stall or vanish: their own session ends, the slot comes back, and
nobody else notices."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
from support.serving import (
    LISTEN,
    SECONDS,
    STT,
    Running,
    connected,
    frame,
    get,
    packed,
    running,
    silence,
    tight,
    transcribed,
    upgrade,
    words_of,
)
from support.siege import everything
from support.speech import Array


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, slots=3) as found:
        yield found


MALFORMED = {
    "no map": b"\xc1",
    "half a message": packed(type="Audio", pcm=[0.5] * 1920)[:500],
    "an unknown type": packed(type="Sing"),
    "no type": packed(pcm=[0.0]),
    "no samples": packed(type="Audio", pcm="abc"),
    "samples that are none": packed(type="Audio", pcm=[float("nan")] * 10),
    "infinity": packed(type="Audio", pcm=[float("inf")] * 10),
    "samples of 16 bits": packed(type="Audio", pcm=[30000] * 10),
    "a marker without number": packed(type="Marker", id="x"),
    "an array that is not there": b"\x82\xa4type\xa5Audio\xa3pcm\xdd\xff\xff\xff\xff",
    "deep nesting": b"\x82\xa4type\xa5Audio\xa3pcm" + b"\x91" * 100_000,
    "what is no Ogg": packed(type="OggOpus", data=list(b"garbage" * 20)),
    "noise": os.urandom(1000),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_message_ends_its_own_session(
    server: Running, pcm: Array, text: str, fault: str
) -> None:
    async def talk() -> tuple[str, object]:
        good = asyncio.create_task(transcribed(server, pcm))
        async with connected(server, LISTEN) as bad:
            await bad.until("Ready")
            await bad.socket.send_bytes(MALFORMED[fault])
            await bad.rest()
            return words_of(await good), bad.ended

    recognized, ended = asyncio.run(talk())
    assert recognized == text
    assert isinstance(ended, tuple)
    assert ended[0] == 1007
    assert 0 < len(ended[1]) <= 120
    server.until_free()


def test_a_message_of_8_mib_is_too_much(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> str:
        good = asyncio.create_task(transcribed(server, pcm))
        async with connected(server, LISTEN) as bad:
            await bad.until("Ready")
            with contextlib.suppress(ConnectionError):
                await bad.socket.send_bytes(bytes(8 << 20))
            await bad.rest()
        return words_of(await good)

    assert asyncio.run(talk()) == text
    server.until_free()


def test_a_large_message_is_no_fault(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> str:
        whole = np.concatenate([pcm, silence(30)])
        async with connected(server, LISTEN) as client:
            data = msgpack.packb({"type": "Audio", "pcm": whole.tolist()})
            assert len(data) > 6_000_000
            await client.socket.send_bytes(data)
            found: list[str] = []
            while len(found) < len(text.split()):
                message = await client.next()
                assert message is not None
                found += [message["text"]] if message["type"] == "Word" else []
            return " ".join(found)

    assert asyncio.run(talk()) == text
    server.until_free()


def test_clients_that_vanish_free_their_slots(server: Running, pcm: Array, text: str) -> None:
    audio = packed(type="Audio", pcm=[0.0] * 1920)
    for sent in (b"", frame(audio), frame(audio)[:100], b"\xff\xff garbage"):
        raw = upgrade(LISTEN, server.server.port)
        raw.sendall(sent)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
    server.until_free()
    assert words_of(asyncio.run(transcribed(server, pcm))) == text


def test_many_that_connect_and_leave_at_once(pcm: Array, text: str) -> None:
    async def one(server: Running) -> None:
        async with connected(server, LISTEN) as client:
            message = await client.next()
            assert message is not None
            assert message["type"] in ("Ready", "Error")

    async def talk(server: Running) -> str:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await asyncio.gather(*(one(server) for _ in range(100)))
            await client.speak(np.concatenate([pcm, silence(3)]))
            await client.send(type="Marker", id=1)
            await client.speak(silence(1))
            return words_of(await client.until("Marker"))

    with running(STT, slots=2) as server:
        assert asyncio.run(talk(server)) == text
        server.until_free()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"POST /api/asr-streaming HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01",
    ],
)
def test_what_is_no_request(server: Running, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server.port)) as raw:
        raw.settimeout(SECONDS)
        with contextlib.suppress(OSError):  # refused before it was all sent
            raw.sendall(head)
            raw.shutdown(socket.SHUT_WR)
        answer = everything(raw)
    assert answer == b"" or b" 400 " in answer
    assert asyncio.run(get(server, "/health"))[0] == 200


def test_a_flood_of_connections(pcm: Array, text: str) -> None:
    async def talk(server: Running) -> None:
        address = "127.0.0.1", server.server.port
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            with contextlib.ExitStack() as idle:
                for _ in range(8):
                    idle.enter_context(socket.create_connection(address))
                assert (await get(server, "/health"))[0] == 200
                await client.speak(np.concatenate([pcm, silence(3)]))
                await client.send(type="Marker", id=1)
                await client.speak(silence(1))
                assert words_of(await client.until("Marker")) == text

    with running(STT, limits=tight(connections=5)) as server:
        asyncio.run(talk(server))


def test_a_body_that_does_not_come() -> None:
    with running(STT, limits=tight(request=0.2, body=100)) as server:
        with socket.create_connection(("127.0.0.1", server.server.port)) as raw:
            raw.settimeout(SECONDS)
            raw.sendall(
                b"POST /api/asr-streaming HTTP/1.1\r\n"
                b"Host: localhost\r\nContent-Length: 50\r\n\r\nx"
            )
            assert b" 408 " in everything(raw)
        assert server.used == [0]
