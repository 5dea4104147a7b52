"""A server that is to stop: its sessions go on while there is time, and nobody new comes."""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from support.raw_websocket import RawWebsocket
from support.serving import (
    LISTEN,
    REALTIME,
    SECONDS,
    STT,
    Running,
    ask,
    connected,
    get,
    running,
    silence,
    words_of,
)
from support.speech import RATE, Array, wav_bytes
from support.waiting import until, until_here
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error

from benchmarks.served import ServedProcess
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.audio.pcm import encode
from kyutai_onnx.server.web.websocket_session import CLOSING
from kyutai_onnx.server.wire import SHUTTING_DOWN

FOREVER = float("inf")


@pytest.fixture
def server() -> Iterator[Running]:
    with running(STT, slots=3, drain=FOREVER, wyoming_port=0) as found:
        yield found
        found.urge()


async def left(draining: "asyncio.Future[int]") -> int:
    """How many sessions a drain left, once it has ended."""
    return await asyncio.wait_for(draining, SECONDS)


def test_a_live_session_goes_on_and_no_other_comes(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> tuple[str, int]:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.speak(pcm[: len(pcm) // 2])
            draining = asyncio.wrap_future(server.drain())
            await server.until_draining()
            for path in (LISTEN, REALTIME):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    async with connected(server, path):
                        pass
                assert refused.value.status == 503
                assert refused.value.headers is not None
                assert refused.value.headers["Retry-After"] == "1"
            status, body, headers = await ask(server, "POST", LISTEN, data=wav_bytes(silence(1)))
            assert (status, body.decode().strip()) == (503, SHUTTING_DOWN)
            assert headers["Retry-After"] == "1"
            status, _, headers = await get(server, "/health")
            assert (status, headers["Connection"]) == (200, "close")
            await client.speak(pcm[len(pcm) // 2 :])
            await client.speak(silence(1))
            await client.send(type="Marker", id=1)
            await client.speak(silence(1))
            found = await client.until("Marker")
            assert not draining.done()
        return words_of(found), await left(draining)

    assert asyncio.run(talk()) == (text, 0)
    server.stop()


def test_a_recording_that_is_being_posted_is_transcribed(
    server: Running, pcm: Array, text: str
) -> None:
    recording = wav_bytes(pcm)

    async def talk() -> tuple[int, str, int]:
        sent, rest = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield recording[:1000]
            sent.set()
            await rest.wait()
            yield recording[1000:]

        posting = asyncio.create_task(ask(server, "POST", LISTEN, data=body()))
        await sent.wait()
        await until_here(lambda: server.sessions)
        draining = asyncio.wrap_future(server.drain())
        await server.until_draining()
        rest.set()
        status, answer, _ = await posting
        return status, words_of(json.loads(answer)), await left(draining)

    assert asyncio.run(talk()) == (200, text, 0)


def test_a_recording_that_waits_for_a_slot_is_transcribed(pcm: Array, text: str) -> None:
    async def talk(server: Running) -> tuple[int, str, int]:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            posting = asyncio.create_task(ask(server, "POST", LISTEN, data=wav_bytes(pcm)))
            await server.until_queued()
            draining = asyncio.wrap_future(server.drain())
            await server.until_draining()
        status, answer, _ = await posting
        return status, words_of(json.loads(answer)), await left(draining)

    with running(STT, slots=1, drain=FOREVER) as server:
        assert asyncio.run(talk(server)) == (200, text, 0)


def test_wyoming_goes_on_and_nobody_new_comes(server: Running, pcm: Array, text: str) -> None:
    port = server.server.wyoming_port
    assert port is not None
    rate, width, channels = RATE, 2, 1
    audio = encode(pcm, "s16le")

    async def begin(client: AsyncTcpClient) -> None:
        await client.write_event(Transcribe().event())
        await client.write_event(AudioStart(rate, width, channels).event())

    async def end_of(client: AsyncTcpClient) -> tuple[str, str]:
        while (event := await client.read_event()) is not None:
            if Transcript.is_type(event.type):
                return "transcript", Transcript.from_event(event).text
            if Error.is_type(event.type):
                return "error", Error.from_event(event).code or ""
        raise AssertionError("no end")

    async def talk() -> None:
        async with (
            asyncio.timeout(SECONDS),
            AsyncTcpClient("127.0.0.1", port) as client,
            AsyncTcpClient("127.0.0.1", port) as other,
        ):
            await begin(client)
            await until_here(lambda: server.used[0])
            draining = asyncio.wrap_future(server.drain())
            await server.until_draining()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            await begin(other)
            assert await end_of(other) == ("error", "busy")
            await client.write_event(AudioChunk(rate, width, channels, audio).event())
            await client.write_event(AudioStop().event())
            assert await end_of(client) == ("transcript", text)
            assert await left(draining) == 0

    asyncio.run(talk())


def test_realtime_goes_on_with_its_next_turns(server: Running, pcm: Array, text: str) -> None:
    """A connection takes a slot with each turn."""
    audio = base64.b64encode(encode(pcm, "s16le")).decode()
    manual = {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}},
    }

    async def talk() -> None:
        async with connected(server, f"{REALTIME}?intent=transcription") as client:
            await client.socket.send_json(manual)
            draining = asyncio.wrap_future(server.drain())
            await server.until_draining()
            for _ in range(2):
                append = {"type": "input_audio_buffer.append", "audio": audio}
                await client.socket.send_json(append)
                await client.socket.send_json({"type": "input_audio_buffer.commit"})
                while True:
                    event = await client.socket.receive_json(timeout=SECONDS)
                    assert event["type"] != "error"
                    if event["type"].endswith("input_audio_transcription.completed"):
                        break
                assert event["transcript"] == text
            assert not draining.done()
        assert await left(draining) == 0

    asyncio.run(talk())


@pytest.mark.parametrize("urgent", [False, True])
def test_what_has_not_ended_is_cut_by_time_or_by_a_second_signal(urgent: bool) -> None:
    async def talk(server: Running) -> tuple[int, object]:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            draining = asyncio.wrap_future(server.drain())
            if urgent:
                await server.until_draining()
                server.urge()
            count = await left(draining)
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            await client.rest()
            await stopping
            return count, client.ended

    with running(STT, drain=FOREVER if urgent else 0.01) as server:
        assert asyncio.run(talk(server)) == (1, CLOSING["shutdown"])


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("drain", "signals", "leaves", "code"),
    [("inf", 1, True, 0), ("0", 1, False, 7), ("inf", 2, False, 130)],
    ids=["all ended", "cut by time", "second signal"],
)
def test_the_exit_code_says_how_it_ended(
    drain: str, signals: int, leaves: bool, code: int, tmp_path: Path
) -> None:
    server = ServedProcess(tmp_path / "log", "--model", DEMO / "stt", "--drain", drain)
    try:
        with RawWebsocket(server.port) as client:
            assert client.reported() == {"type": "Ready"}
            for _ in range(signals):
                server.signal(signal.SIGTERM)
                until(lambda: "stopping" in server.log)
            assert leaves or client.end() == CLOSING["shutdown"][0]
        assert server.wait() == code
    finally:
        server.kill()
    last = server.log.splitlines()[-1]
    assert last.startswith("error: ") == (code != 0)
    assert "Traceback" not in server.log
