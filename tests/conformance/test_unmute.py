"""What Unmute relies on, rule by rule (unmute/stt, unmute/tts, unmute_handler), where it shows on
the wire. By number, those that are tried elsewhere:

- 3, 11: strict unions of messages: tests/fuzz/test_protocol_clients.py
- 4, 7: arrays of any size, words without text: tests/unit/server/test_stt_messages.py
- 12, 13: text word by word, audio of any length: tests/integration/server/test_server_speaking.py
- 17: ports and slots are the user's
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.speech import RATE, Array

from benchmarks.served import ServedProcess
from kyutai_onnx.models import Word

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

msgpack = pytest.importorskip("msgpack")
websockets = pytest.importorskip("websockets")

STT, TTS = "/api/asr-streaming", "/api/tts_streaming?format=PcmMessagePack&cfg_alpha=1.5"
HEADERS = {"kyutai-api-key": "public_token"}
FRAME_SECONDS = 0.08
DELAY = 0.5
SLOTS = 2
SECONDS = 120.0
"""After which a test gives up. Unmute allows half a second; how soon the server answers is measured
in benchmarks."""


def packed(**message: Any) -> bytes:
    data: bytes = msgpack.packb(message, use_bin_type=True, use_single_float=True)
    return data


def audio(pcm: Array) -> bytes:
    return packed(type="Audio", pcm=pcm.astype(np.float16).astype(np.float32).tolist())


async def receive(socket: "ClientConnection") -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb(await socket.recv())
    return message


@asynccontextmanager
async def connected(server: ServedProcess, path: str) -> AsyncIterator["ClientConnection"]:
    """A client that is let in by Ready."""
    socket, ready = await opened(server, path)
    try:
        assert ready == {"type": "Ready"}
        yield socket
    finally:
        await socket.close()


async def opened(server: ServedProcess, path: str) -> "tuple[ClientConnection, dict[str, Any]]":
    async with asyncio.timeout(SECONDS):
        socket = await websockets.connect(
            f"ws://127.0.0.1:{server.port}{path}", additional_headers=HEADERS
        )
        return socket, await receive(socket)


def test_1_ready_comes_first_and_soon(server: ServedProcess) -> None:
    async def run() -> None:
        for path in (STT, TTS):
            async with connected(server, path):
                pass

    asyncio.run(run())


def test_1_ready_does_not_wait_for_the_sessions_that_run(server: ServedProcess, pcm: Array) -> None:
    async def run() -> None:
        async with connected(server, STT) as busy:
            await busy.send(audio(np.tile(pcm, 10)))
            async with connected(server, STT):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("path", [STT, TTS])
def test_2_an_error_at_the_start_is_that_of_no_room(server: ServedProcess, path: str) -> None:
    async def run() -> None:
        async with connected(server, path), connected(server, path):
            socket, refusal = await opened(server, path)
            assert refusal == {"type": "Error", "message": "no free channels"}
            with pytest.raises(websockets.ConnectionClosedOK):
                await socket.recv()

    asyncio.run(run())


def test_5_a_step_of_three_heads_or_more_for_each_frame(server: ServedProcess, pcm: Array) -> None:
    async def run() -> None:
        async with connected(server, STT) as socket:
            frames = len(pcm) // 1920
            await socket.send(audio(pcm[: frames * 1920]))
            steps: list[dict[str, Any]] = []
            while len(steps) < frames:
                message = await receive(socket)
                if message["type"] == "Step":
                    steps.append(message)
            assert [step["step_idx"] for step in steps] == list(range(frames))
            assert all(len(step["prs"]) >= 3 for step in steps)
            assert all(0 <= chance <= 1 for step in steps for chance in step["prs"])

    asyncio.run(run())


def test_5_and_6_a_pause_is_reported_and_flushed_quicker_than_it_is_spoken(
    server: ServedProcess, pcm: Array, words: list[Word]
) -> None:
    """Speech comes a few frames ahead of the steps. Once the average of the two second head is
    above 0.6, eight frames of silence are sent at once, and are stepped."""
    silence = np.zeros(1920, np.float32)

    async def run() -> list[str]:
        said: list[str] = []
        clock, flushed_at = -DELAY, None
        ahead = asyncio.Semaphore(4)
        async with connected(server, STT) as socket:

            async def speak() -> None:
                spoken = np.concatenate([pcm, np.zeros(20 * RATE, np.float32)])
                for start in range(0, len(spoken), 480):
                    if start % 1920 == 0:
                        await ahead.acquire()
                    await socket.send(audio(spoken[start : start + 480]))

            speaking = asyncio.create_task(speak())
            steps = 0
            while flushed_at is None or clock <= flushed_at:
                message = await receive(socket)
                if message["type"] == "Word" and message["text"]:
                    said.append(message["text"])
                if message["type"] != "Step":
                    continue
                steps += 1
                ahead.release()
                clock += FRAME_SECONDS
                if flushed_at is None and steps > 12 and said and message["prs"][2] > 0.6:
                    flushed_at = clock + DELAY
                    for _ in range(int(np.ceil(DELAY / FRAME_SECONDS)) + 1):
                        await socket.send(audio(silence))
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        return said

    assert asyncio.run(run()) == [word.text for word in words]


def test_8_a_marker_comes_back_after_what_was_sent_before(
    server: ServedProcess, pcm: Array, text: str
) -> None:
    async def run() -> str:
        async with connected(server, STT) as socket:
            await socket.send(audio(pcm))
            await socket.send(packed(type="Marker", id=123))
            await socket.send(audio(np.zeros(25 * 1920, np.float32)))
            recognized = []
            while (message := await receive(socket))["type"] != "Marker":
                recognized += [message["text"]] if message["type"] == "Word" else []
            assert message["id"] == 123
        return " ".join(recognized)

    assert asyncio.run(run()) == text


def test_9_a_client_that_closes_sees_the_end(server: ServedProcess, pcm: Array) -> None:
    async def run() -> int | None:
        async with connected(server, STT) as socket:
            await socket.send(audio(pcm))
            await socket.close()
            async for _ in socket:
                pass
            code: int | None = socket.close_code
        return code

    assert asyncio.run(run()) in (1000, 1001, 1005)


def test_10_a_voice_may_be_sent_before_ready_was_read(server: ServedProcess) -> None:
    """The demo takes no embeddings: that alone is refused, and with a reason."""

    async def run() -> None:
        socket = await websockets.connect(
            f"ws://127.0.0.1:{server.port}{TTS}", additional_headers=HEADERS
        )
        voice = packed(type="Voice", embeddings=[0.0] * 8, shape=[1, 2, 4])
        await socket.send(voice)
        with pytest.raises(websockets.ConnectionClosed, match="embedding"):
            await drain(socket)

    async def drain(socket: "ClientConnection") -> None:
        async for data in socket:
            assert msgpack.unpackb(data) == {"type": "Ready"}

    asyncio.run(run())


def test_12_and_14_a_speech_ends_by_the_server_closing(server: ServedProcess) -> None:
    async def run() -> tuple[list[str], float]:
        async with connected(server, TTS) as socket:
            for word in ("set", "an", "alarm"):
                await socket.send(packed(type="Text", text=word))
            await socket.send(packed(type="Eos"))
            reported, samples = [], 0
            async for data in socket:  # raises where it is not closed in peace
                message = msgpack.unpackb(data)
                reported += [message["text"]] if message["type"] == "Text" else []
                samples += len(message["pcm"]) if message["type"] == "Audio" else 0
        return reported, samples / RATE

    reported, seconds = asyncio.run(run())
    assert reported == ["set", "an", "alarm"]
    assert 0.5 < seconds < 10


@pytest.mark.parametrize("path", [STT, TTS])
def test_15_a_slot_is_free_again_soon_after_an_interruption(
    server: ServedProcess, path: str
) -> None:
    async def let_in() -> None:
        async with asyncio.timeout(SECONDS):
            first = {"type": "Error"}
            while first["type"] == "Error":
                socket, first = await opened(server, path)
                await socket.close()

    async def run() -> None:
        for _ in range(3):
            sockets = [(await opened(server, path))[0] for _ in range(SLOTS)]
            for socket in sockets:
                work = packed(type="Text", text="one two three four five six seven eight")
                await socket.send(work if path == TTS else audio(np.zeros(10 * RATE, np.float32)))
            for socket in sockets:
                await receive(socket)  # at work on it
            closing = [asyncio.create_task(socket.close()) for socket in sockets]
            await asyncio.sleep(0)
            await let_in()
            for socket in sockets:  # which would wait, with what it has not read, for ten seconds
                socket.transport.abort()
            await asyncio.gather(*closing)

    asyncio.run(run())


def test_16_health_and_metrics_are_there(server: ServedProcess) -> None:
    assert isinstance(json.loads(server.get("/api/build_info")), dict)
    metrics = server.get("/metrics")
    assert "asr_connect" in metrics
    assert "py_connect" in metrics
