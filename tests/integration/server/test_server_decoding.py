"""Clients of a server that decodes in other processes: their order, their words, and what one of
them breaks."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.decoder_jobs import jobs, processes
from support.serving import (
    LISTEN,
    SECONDS,
    STT,
    Client,
    Running,
    ask,
    connected,
    running,
    silence,
    words_of,
)
from support.speech import Array, wav_bytes
from support.waiting import until
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart

from kyutai_onnx.server.decoding import Decoders, RecordingDecoder
from kyutai_onnx.server.engine.session import Session
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.web.async_session import AHEAD
from kyutai_onnx.server.web.context import CONTEXT
from kyutai_onnx.server.wire import NO_ROOM
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder, OpusEncoder
from kyutai_onnx.server.wyoming.adapter import ChunkDecoder
from kyutai_onnx.server.wyoming.messages import pack_event

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, slots=3) as found:
        yield found


@pytest.fixture
def nothing_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the server's own process no decoder may run."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded in the server")

    monkeypatch.setattr(OpusDecoder, "push", refuse)
    monkeypatch.setattr("kyutai_onnx.runtime.audio.files.reader.open_decoder", refuse)


def pages(pcm: Array) -> bytes:
    return OpusEncoder().push(np.concatenate([pcm, silence(3.0)]))


async def finished(client: Client) -> str:
    """The words, once a marker behind them came back."""
    await client.send(type="Marker", id=1)
    await client.speak(silence(1.0))
    return words_of(await client.until("Marker"))


@pytest.mark.parametrize("sizes", [(1 << 30,), (700, 40_000, 3, 5000)])
@pytest.mark.usefixtures("nothing_decoded_here")
def test_opus_is_read_in_its_order(
    server: Running, pcm: Array, text: str, sizes: tuple[int, ...]
) -> None:
    """Long messages, which other threads parse, and short ones come in turn."""
    data, start, turn = pages(pcm), 0, 0
    parts = []
    while start < len(data):
        size = sizes[turn % len(sizes)]
        parts.append(list(data[start : start + size]))
        start, turn = start + size, turn + 1

    async def talk() -> str:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            for part in parts:
                await client.send(type="OggOpus", data=part)
            return await finished(client)

    assert asyncio.run(talk()) == text


@pytest.mark.usefixtures("nothing_decoded_here")
def test_a_recording_is_read(server: Running, speech: Path, text: str) -> None:
    status, body, _ = asyncio.run(ask(server, "POST", LISTEN, data=speech.read_bytes()))
    assert status == 200
    assert text.split()[0] in body.decode()


def test_a_decoder_that_is_killed_ends_its_own_session(
    server: Running, pcm: Array, text: str
) -> None:
    data = pages(pcm)
    half = len(data) // 2

    async def begin(client: Client) -> set[int]:
        """The process that it got."""
        before = jobs()
        await client.until("Ready")
        await client.send(type="OggOpus", data=data[:half])
        await client.until("Step")
        return jobs() - before

    async def talk() -> str:
        async with connected(server, LISTEN) as victim, connected(server, LISTEN) as witness:
            (process,) = await begin(victim)
            await begin(witness)
            os.kill(process, signal.SIGKILL)
            await victim.send(type="OggOpus", data=data[half:])
            await victim.rest()
            assert victim.ended is not None
            assert victim.ended[0] == 1007
            await witness.send(type="OggOpus", data=data[half:])
            return await finished(witness)

    assert asyncio.run(talk()) == text
    server.until_free()
    until(lambda: not jobs())


def test_a_decoder_that_is_killed_fails_its_own_request(
    server: Running, pcm: Array, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = RecordingDecoder.open

    async def killed(self: RecordingDecoder) -> float | None:
        duration = await opened(self)
        (process,) = jobs()
        os.kill(process, signal.SIGKILL)
        return duration

    def post() -> tuple[int, str]:
        status, body, _ = asyncio.run(ask(server, "POST", LISTEN, data=wav_bytes(pcm)))
        return status, body.decode()

    until(lambda: not jobs())
    with monkeypatch.context() as patch:
        patch.setattr(RecordingDecoder, "open", killed)
        status, why = post()
    assert (status, "cannot be decoded" in why) == (400, True)
    status, words = post()
    assert (status, text.split()[0] in words) == (200, True)


def test_a_stream_without_a_process_is_refused(pcm: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(server: Running) -> list[dict[str, object]]:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.send(type="OggOpus", data=pages(pcm)[:4000])
            return await client.rest()

    with running(STT) as server:
        app = server.server._app
        assert app is not None
        monkeypatch.setattr(app[CONTEXT], "decoders", Decoders(Limits(uploads=0, wait=0.0), 0))
        assert asyncio.run(talk(server)) == [{"type": "Error", "message": NO_ROOM}]
        status, _, _ = asyncio.run(ask(server, "POST", LISTEN, data=wav_bytes(pcm)))
        assert status == 503


def test_a_server_that_stops_leaves_no_process(pcm: Array) -> None:
    until(lambda: not jobs())
    before = processes()
    with running(STT) as server:

        async def talk() -> None:
            async with connected(server, LISTEN) as client:
                await client.until("Ready")
                await client.send(type="OggOpus", data=pages(pcm))
                await client.until("Step")
                assert len(processes()) == len(before) + 2  # one that forks, and its job
                await asyncio.to_thread(server.stop)

        asyncio.run(talk())
        assert processes() == before


def test_a_large_chunk_is_converted_a_second_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MB of 8 kHz are nine minutes: no more of it is converted than the model is ahead of."""
    rate, converted, fed = 8000, list[int](), list[float]()
    push, feed, done = ChunkDecoder.push, Session.feed, threading.Event()

    def pushed(self: ChunkDecoder, chunk: AudioChunk) -> Array:
        converted.append(len(chunk.audio))
        return push(self, chunk)

    def noted(self: Session, item: object) -> None:
        feed(self, item)
        fed.append(self.backlog)
        if len(fed) == 60:
            done.set()

    monkeypatch.setattr(ChunkDecoder, "push", pushed)
    monkeypatch.setattr(Session, "feed", noted)
    chunk = AudioChunk(rate, 1, 1, b"\x80" * (60 * rate))

    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for message in (Transcribe(), AudioStart(rate, 1, 1), chunk):
            writer.write(pack_event(message))
        assert await asyncio.to_thread(done.wait, SECONDS)
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""

    with running(STT, wyoming_port=0) as server:
        assert server.server.wyoming_port is not None
        asyncio.run(talk(server.server.wyoming_port))
    assert max(converted) <= rate
    assert max(fed) <= AHEAD + 2
