"""The message sequences of delayed-streams-modeling's scripts for moshi-server
(stt_from_file_rust_server.py, stt_from_mic_rust_server.py, tts_rust_server.py), rewritten with
the packages that they use: `websockets` and `msgpack`."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.commands import Command
from support.speech import RATE, Array, write_wav

from benchmarks.served import ServedProcess
from kyutai_onnx.models import SpeechToText, Word

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

msgpack = pytest.importorskip("msgpack")
websockets = pytest.importorskip("websockets")

FRAME = 1920
HEADERS = {"kyutai-api-key": "public_token"}
SENTENCE = "set an alarm at six twenty"
SECONDS = 120.0
Message = dict[str, Any]


def packed(**message: Any) -> bytes:
    data: bytes = msgpack.packb(message, use_bin_type=True, use_single_float=True)
    return data


def audio(pcm: Array) -> bytes:
    return packed(type="Audio", pcm=[float(sample) for sample in pcm])


def talk(server: ServedProcess, path: str, sending: Any, receiving: Any) -> Any:
    """Sends and receives at once, as all of the scripts do; what was received."""

    async def run() -> Any:
        url = f"ws://127.0.0.1:{server.port}{path}"
        async with (
            asyncio.timeout(SECONDS),
            websockets.connect(url, additional_headers=HEADERS) as socket,
        ):
            send = asyncio.create_task(sending(socket))
            found = await receiving(socket)
            send.cancel()
            await asyncio.gather(send, return_exceptions=True)
            return found

    return asyncio.run(run())


async def send_file(socket: "ClientConnection", pcm: Array, second: Array, rtf: float) -> None:
    """As stt_from_file_rust_server.py: a second of silence, the file in frames at its pace, five of
    silence, a marker, thirty-five more."""
    await socket.send(audio(second))
    begun = time.monotonic()
    for start in range(0, len(pcm), FRAME):
        await socket.send(audio(pcm[start : start + FRAME]))
        due = begun + (start + FRAME) / RATE / rtf
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    for _ in range(5):
        await socket.send(audio(second))
    await socket.send(packed(type="Marker", id=0))
    for _ in range(35):
        await socket.send(audio(second))


async def transcript(socket: "ClientConnection") -> list[Message]:
    """Words with their ends, until the marker comes back; steps and the rest are passed over."""
    words: list[Message] = []
    async for data in socket:
        message = msgpack.unpackb(data, raw=False)
        if message["type"] == "Word":
            words.append({"text": message["text"], "start": message["start_time"]})
        elif message["type"] == "EndWord" and words:
            words[-1]["stop"] = message["stop_time"]
        elif message["type"] == "Marker":
            return words
    pytest.fail("no marker came back")


@pytest.mark.parametrize("rtf", [1000, 4])
def test_a_file_is_transcribed(
    server: ServedProcess, pcm: Array, second: Array, words: list[Word], rtf: float
) -> None:
    path = "/api/asr-streaming"
    found = talk(server, path, lambda socket: send_file(socket, pcm, second, rtf), transcript)
    assert [word["text"] for word in found] == [word.text for word in words]
    assert [word["start"] - 1.0 for word in found] == pytest.approx(
        [word.start for word in words], abs=0.25
    )
    assert all(word["stop"] >= word["start"] for word in found)


def test_a_microphone_is_transcribed_with_its_pauses(
    server: ServedProcess, pcm: Array, second: Array, text: str
) -> None:
    """As stt_from_mic_rust_server.py --show-vad: frames as they come, and a bar where the third
    head reports a pause after speech. It is left by closing, amid the stream."""
    spoken = np.concatenate([second, pcm, second.repeat(4)])
    ahead = asyncio.Semaphore(4)

    async def send(socket: "ClientConnection") -> None:
        for start in range(0, len(spoken), FRAME):
            await ahead.acquire()
            await socket.send(audio(spoken[start : start + FRAME]))

    async def receive(socket: "ClientConnection") -> str:
        shown, spoke, steps = "", False, 0
        async for data in socket:
            message = msgpack.unpackb(data, raw=False)
            if message["type"] == "Step":
                steps += 1
                ahead.release()
                if message["prs"][2] > 0.5 and spoke:
                    shown, spoke = f"{shown}| ", False
                if steps == len(spoken) // FRAME:
                    break
            elif message["type"] == "Word":
                shown, spoke = f"{shown}{message['text']} ", True
        return shown

    shown = talk(server, "/api/asr-streaming", send, receive).split()
    assert [word for word in shown if word != "|"] == text.split()
    assert shown.count("|") >= 1  # text lags behind: it may stand before the last word


def test_a_text_is_spoken(
    server: ServedProcess, command: Command, model: SpeechToText, tmp_path: "Path"
) -> None:
    """As tts_rust_server.py: a message a word, then the end, then all until the server closes."""
    path = "/api/tts_streaming?voice=default&format=PcmMessagePack"

    async def send(socket: "ClientConnection") -> None:
        for word in SENTENCE.split():
            await socket.send(packed(type="Text", text=word))
        await socket.send(packed(type="Eos"))

    async def receive(socket: "ClientConnection") -> tuple[list[Message], int | None]:
        messages = [msgpack.unpackb(data) async for data in socket]
        return messages, socket.close_code

    messages, code = talk(server, path, send, receive)
    assert messages[0] == {"type": "Ready"}
    assert code == 1005
    assert [m["text"] for m in messages if m["type"] == "Text"] == SENTENCE.split()
    frames = [m["pcm"] for m in messages if m["type"] == "Audio"]
    assert {len(frame) for frame in frames} == {FRAME}
    wav = write_wav(tmp_path / "out.wav", np.concatenate(frames).astype(np.float32))
    assert command("transcribe", wav, "-q").out.strip() == SENTENCE
