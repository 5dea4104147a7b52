"""Wyoming on its own port, spoken by the `wyoming` package, as Home Assistant does."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import soxr
from support.serving import RATE, SECONDS, STT, TTS, Running, running, tight
from support.speech import Array
from support.waiting import until_here

from kyutai_onnx.models import SpeechToText, TextToSpeech, Word

pytest.importorskip("wyoming", reason="the serve extra is not installed")

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

SEED = 1
TEXT = "the train leaves at seven twenty three"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, wyoming_port=0) as found:
        yield found


@asynccontextmanager
async def client_of(server: Running) -> Any:
    port = server.server.wyoming_port
    async with asyncio.timeout(SECONDS), AsyncTcpClient("127.0.0.1", port) as client:
        yield client


async def until(client: AsyncTcpClient, kind: Any) -> list[Event]:
    """All events up to one of a kind, which must come."""
    found: list[Event] = []
    while not found or not kind.is_type(found[-1].type):
        event = await client.read_event()
        assert event is not None, found
        found.append(event)
    return found


def test_what_there_is(server: Running) -> None:
    async def talk() -> Info:
        async with client_of(server) as client:
            await client.write_event(Describe().event())
            return Info.from_event((await until(client, Info))[-1])

    info = asyncio.run(talk())
    (asr,), (tts,) = info.asr, info.tts
    assert [(model.name, model.languages) for model in asr.models] == [("stt-demo-en", ["en"])]
    assert [voice.name for voice in tts.voices] == ["default"]
    assert tts.supports_synthesize_streaming
    assert asr.installed
    assert tts.installed


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (24000, 1), (48000, 2)])
def test_speech_is_transcribed(
    server: Running, pcm: Array, words: list[Word], rate: int, channels: int
) -> None:
    sound = np.clip(soxr.resample(pcm, RATE, rate), -1, 1)
    data = np.repeat((sound * 32767).astype("<i2"), channels).tobytes()
    form = {"rate": rate, "width": 2, "channels": channels}

    async def talk() -> list[Event]:
        async with client_of(server) as client:
            await client.write_event(Ping(text="here?").event())
            assert Pong.from_event((await until(client, Pong))[-1]).text == "here?"
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(**form).event())
            for start in range(0, len(data), 4096 * channels):
                audio = data[start : start + 4096 * channels]
                await client.write_event(AudioChunk(**form, audio=audio).event())
            await client.write_event(Ping(text="still?").event())
            answers = await until(client, Pong)
            assert Pong.from_event(answers[-1]).text == "still?"
            await client.write_event(AudioStop().event())
            return [*answers[:-1], *await until(client, Transcript)]

    reported = asyncio.run(talk())
    text = " ".join(word.text for word in words)
    assert Transcript.from_event(reported[-1]).text == text
    pieces = [event.data["text"] for event in reported if event.type == "transcript-chunk"]
    assert "".join(pieces) == text


def test_text_is_spoken(
    server: Running, model: SpeechToText, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng  # the protocol has no seed, and not every draw is intelligible
    monkeypatch.setattr(np.random, "default_rng", lambda _: draw(SEED))

    async def talk() -> list[Event]:
        async with client_of(server) as client:
            await client.write_event(Synthesize(TEXT, SynthesizeVoice("default")).event())
            return await until(client, AudioStop)

    reported = asyncio.run(talk())
    start = AudioStart.from_event(reported[0])
    assert (start.rate, start.width, start.channels) == (RATE, 2, 1)
    pcm = np.frombuffer(b"".join(event.payload or b"" for event in reported), "<i2") / 32768
    recognized = " ".join(word.text for word in model.transcribe(pcm.astype(np.float32)))
    assert "seven twenty three" in recognized


def test_text_is_spoken_as_it_comes(server: Running) -> None:
    async def talk() -> list[Event]:
        async with client_of(server) as client:
            await client.write_event(SynthesizeStart().event())
            for piece in ("the tr", "ain", " ", "leaves at", " seven twenty three"):
                await client.write_event(SynthesizeChunk(piece).event())
            await client.write_event(Synthesize(TEXT).event())
            await client.write_event(SynthesizeStop().event())
            first = await until(client, SynthesizeStopped)
            await client.write_event(Synthesize("seven").event())
            assert (await until(client, AudioStop))[0].type == "audio-start"
            return first

    reported = asyncio.run(talk())
    assert [reported[0].type, reported[-2].type] == ["audio-start", "audio-stop"]
    length = sum(len(event.payload or b"") for event in reported) / 2
    alone = len(TextToSpeech.load().speak(TEXT, seed=1).pcm)
    assert length == pytest.approx(alone, rel=0.5)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([Synthesize("seven", SynthesizeVoice("nobody"))], "nobody"),
        ([Transcribe(name="nobody"), AudioStart(16000, 2, 1)], "stt-demo-en"),
        ([AudioStart(16000, 9, 1)], "width"),
        ([SynthesizeChunk("seven")], "piece"),
    ],
)
def test_what_cannot_be_is_reported(server: Running, events: list[Any], said: str) -> None:
    async def talk() -> str:
        async with client_of(server) as client:
            for event in events:
                await client.write_event(event.event())
            return Error.from_event((await until(client, Error))[-1]).text

    assert said in asyncio.run(talk())
    server.until_free()


def test_who_leaves_in_the_middle_frees_the_slot(server: Running) -> None:
    async def talk() -> None:
        async with client_of(server) as client:
            await client.write_event(AudioStart(16000, 2, 1).event())
            await client.write_event(AudioChunk(16000, 2, 1, bytes(3200)).event())
            await until_here(lambda: server.used[0])

    asyncio.run(talk())
    server.until_free()


def test_no_room_is_reported() -> None:
    async def talk(server: Running) -> Error:
        async with client_of(server) as first:
            await first.write_event(AudioStart(16000, 2, 1).event())
            await until_here(lambda: server.used == [1])
            async with client_of(server) as second:
                await second.write_event(AudioStart(16000, 2, 1).event())
                return Error.from_event((await until(second, Error))[-1])

    with running(STT, wyoming_port=0, slots=1, limits=tight(wait=0.1)) as server:
        error = asyncio.run(talk(server))
    assert (error.text, error.code) == ("no free channels", "busy")
