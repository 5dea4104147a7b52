"""The client of the `wyoming` package, unmodified, by which Home Assistant speaks and listens. The
protocol's corners are tried in tests/unit/server/test_wyoming.py."""

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.speech import RATE, Array

from benchmarks.served import ServedProcess
from kyutai_onnx.models import SpeechToText

if TYPE_CHECKING:
    from wyoming.client import AsyncTcpClient
    from wyoming.event import Event

pytest.importorskip("wyoming")
SENTENCE = "set an alarm at six twenty"
SECONDS = 120.0


def ask(server: ServedProcess, talk: Any) -> Any:
    """What a talk with the server returns."""

    async def run() -> Any:
        from wyoming.client import AsyncTcpClient

        async with asyncio.timeout(SECONDS):
            async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
                return await talk(client)

    return asyncio.run(run())


async def until(client: "AsyncTcpClient", kind: str) -> "list[Event]":
    """All events up to one of this kind."""
    found: list[Event] = []
    while not found or found[-1].type != kind:
        event = await client.read_event()
        assert event is not None, found
        found.append(event)
    return found


def test_what_is_offered_is_described(server: ServedProcess) -> None:
    from wyoming.info import Describe, Info

    async def talk(client: "AsyncTcpClient") -> Info:
        await client.write_event(Describe().event())
        return Info.from_event((await until(client, "info"))[-1])

    info: Info = ask(server, talk)
    assert [model.name for program in info.asr for model in program.models] == ["stt-demo-en"]
    assert [voice.name for program in info.tts for voice in program.voices]


@pytest.mark.parametrize("width", [2])
def test_the_words_are_those_of_transcribe(
    server: ServedProcess, pcm: Array, text: str, width: int
) -> None:
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop

    samples = np.round(pcm * 32768).astype("<i2")
    form = {"rate": RATE, "width": width, "channels": 1}

    async def talk(client: "AsyncTcpClient") -> str:
        await client.write_event(Transcribe().event())
        await client.write_event(AudioStart(**form).event())
        for start in range(0, len(samples), 1024):
            audio = samples[start : start + 1024].tobytes()
            await client.write_event(AudioChunk(audio=audio, **form).event())
        await client.write_event(AudioStop().event())
        return Transcript.from_event((await until(client, "transcript"))[-1]).text

    assert ask(server, talk).strip() == text


def test_chunks_without_a_start_are_transcribed(
    server: ServedProcess, pcm: Array, text: str
) -> None:
    from wyoming.asr import Transcript
    from wyoming.audio import AudioChunk, AudioStop

    samples = np.round(pcm * 32768).astype("<i2")

    async def talk(client: "AsyncTcpClient") -> str:
        for start in range(0, len(samples), 1024):
            audio = samples[start : start + 1024].tobytes()
            chunk = AudioChunk(audio=audio, rate=RATE, width=2, channels=1)
            await client.write_event(chunk.event())
        await client.write_event(AudioStop().event())
        return Transcript.from_event((await until(client, "transcript"))[-1]).text

    assert ask(server, talk).strip() == text


def test_a_refusal_reaches_a_client_that_is_still_writing(server: ServedProcess) -> None:
    """More is written than the sockets of both sides hold."""
    from wyoming.asr import Transcribe
    from wyoming.audio import AudioChunk, AudioStart
    from wyoming.error import Error

    form = {"rate": RATE, "width": 2, "channels": 1}

    async def talk(client: "AsyncTcpClient") -> str:
        await client.write_event(Transcribe(name="nobody").event())
        await client.write_event(AudioStart(**form).event())
        for _ in range(100):
            await client.write_event(AudioChunk(audio=bytes(8192), **form).event())
        return Error.from_event((await until(client, "error"))[-1]).text

    refusal = ask(server, talk)
    assert "nobody" in refusal
    assert "stt-demo-en" in refusal


def test_a_text_is_spoken(server: ServedProcess, model: SpeechToText) -> None:
    from wyoming.audio import AudioChunk, AudioStart
    from wyoming.tts import Synthesize

    async def talk(client: "AsyncTcpClient") -> tuple[int, Array]:
        await client.write_event(Synthesize(text=SENTENCE).event())
        events = await until(client, "audio-stop")
        chunks = [AudioChunk.from_event(e).audio for e in events if AudioChunk.is_type(e.type)]
        start = next(AudioStart.from_event(e) for e in events if AudioStart.is_type(e.type))
        assert (start.width, start.channels) == (2, 1)
        return start.rate, np.frombuffer(b"".join(chunks), "<i2").astype(np.float32) / 32768

    rate, pcm = ask(server, talk)
    assert rate == RATE
    assert " ".join(word.text for word in model.transcribe(pcm)) == SENTENCE
