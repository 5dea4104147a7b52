"""`/api/tts_streaming` over real sockets: four formats, voices, and how it ends."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.serving import (
    CLOSED_IN_PEACE,
    RATE,
    SPEAK,
    TTS,
    Message,
    Running,
    ask,
    connected,
    packed,
    running,
    tight,
)
from support.speech import Array
from support.waiting import until_here

from kyutai_onnx.models import SpeechToText, TextToSpeech
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder

TEXT = "the train leaves at seven twenty three"
SEED = "&seed=3"
PACKED = f"{SPEAK}?format=PcmMessagePack{SEED}"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(TTS, slots=4) as found:
        yield found


@pytest.fixture(scope="module")
def spoken() -> Array:
    """What the demo says by itself."""
    return TextToSpeech.load().speak(TEXT, seed=3).pcm


async def said(server: Running, path: str, *texts: str) -> tuple[list[Message], object]:
    """All messages for a client that sends some texts."""
    async with connected(server, path) as client:
        for text in texts:
            await client.send(type="Text", text=text)
        await client.send(type="Eos")
        return await client.rest(), client.ended


async def said_raw(server: Running, path: str) -> bytes:
    async with connected(server, path) as client:
        await client.socket.send_str(TEXT)
        await client.socket.send_bytes(b"\0")
        found = []
        while (data := await client.next_bytes()) is not None:
            found.append(data)
        assert client.ended == CLOSED_IN_PEACE
        return b"".join(found)


def pcm_of(reported: list[Message]) -> Array:
    pieces = [np.array(m["pcm"], np.float32) for m in reported if m["type"] == "Audio"]
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def test_messages_of_samples(server: Running, spoken: Array) -> None:
    reported, ended = asyncio.run(said(server, PACKED, *TEXT.split()))
    assert reported[0] == {"type": "Ready"}
    assert ended == CLOSED_IN_PEACE
    assert {len(m["pcm"]) for m in reported if m["type"] == "Audio"} == {1920}
    assert pcm_of(reported)[: len(spoken)] == pytest.approx(np.clip(spoken, -0.99, 0.99), abs=1e-6)
    words = [m for m in reported if m["type"] == "Text"]
    assert [m["text"] for m in words] == TEXT.split()
    assert all(m["start_s"] <= m["stop_s"] for m in words)


def test_the_words_are_transcribed(server: Running, model: SpeechToText) -> None:
    reported, _ = asyncio.run(said(server, PACKED, TEXT))
    recognized = " ".join(word.text for word in model.transcribe(pcm_of(reported)))
    assert "seven twenty three" in recognized


def test_samples_alone(server: Running, spoken: Array) -> None:
    data = asyncio.run(said_raw(server, f"{SPEAK}?format=Pcm{SEED}"))
    pcm = np.frombuffer(data, "<f4")
    assert pcm[: len(spoken)] == pytest.approx(np.clip(spoken, -0.99, 0.99), abs=1e-6)


@pytest.mark.parametrize("form", ["format=OggOpus", ""])
def test_ogg_opus_alone(server: Running, spoken: Array, form: str) -> None:
    data = asyncio.run(said_raw(server, f"{SPEAK}?{form}{SEED}"))
    assert data[:4] == b"OggS"
    assert alike(OpusDecoder().push(data), spoken)


def test_messages_of_ogg_opus(server: Running, spoken: Array) -> None:
    path = f"{SPEAK}?format=OggOpusMessagePack{SEED}"
    reported, ended = asyncio.run(said(server, path, TEXT))
    assert [m["type"] for m in reported[:2]] == ["Ready", "OggOpus"]
    data = b"".join(bytes(m["data"]) for m in reported if m["type"] == "OggOpus")
    assert alike(OpusDecoder().push(data), spoken)
    assert [m["text"] for m in reported if m["type"] == "Text"] == TEXT.split()
    assert ended == CLOSED_IN_PEACE


def alike(recognized: Array, spoken: Array) -> bool:
    """Whether the loudness of a tenth of a second goes the same way, whatever the codec delays."""
    size = RATE // 10
    loud = [
        np.abs(p[: len(spoken) // size * size]).reshape(-1, size).mean(1)
        for p in (recognized, spoken)
    ]
    return float(np.corrcoef(*loud)[0, 1]) > 0.8


def test_ready_comes_before_any_text(server: Running) -> None:
    async def talk() -> None:
        async with connected(server, PACKED) as client:
            assert await client.next() == {"type": "Ready"}

    asyncio.run(talk())
    server.until_free()


def test_nothing_to_say_ends_at_once(server: Running) -> None:
    reported, ended = asyncio.run(said(server, PACKED))
    assert (reported, ended) == ([{"type": "Ready"}], CLOSED_IN_PEACE)


def test_a_break_is_reported(server: Running) -> None:
    reported, _ = asyncio.run(said(server, PACKED, "seven", '<break time="0.8s"/>', "twenty"))
    assert [m["text"] for m in reported if m["type"] == "Text"] == [
        "seven",
        '<break time="0.80s">',
        "twenty",
    ]


def test_an_unknown_voice_is_reported(server: Running) -> None:
    reported, ended = asyncio.run(said(server, f"{PACKED}&voice=nobody/here.wav"))
    assert [m["type"] for m in reported] == ["Error"]
    assert "nobody/here.wav" in reported[0]["message"]
    assert ended == CLOSED_IN_PEACE

    async def raw() -> object:
        async with connected(server, f"{SPEAK}?format=Pcm&voice=nobody") as client:
            assert await client.next_bytes() is None
            return client.ended

    code, reason = asyncio.run(raw())  # type: ignore[misc]
    assert code == 1008
    assert "nobody" in reason


@pytest.mark.parametrize("voice", ["/etc/passwd", "../../alarm.wav", "file:///etc/passwd", "x.npz"])
def test_a_voice_is_no_path(server: Running, voice: str, tmp_path: Path) -> None:
    for name in (voice, str(tmp_path)):
        reported, _ = asyncio.run(said(server, f"{PACKED}&voice={name}"))
        assert [m["type"] for m in reported] == ["Error"]
        assert reported[0]["message"].startswith("no voice ")


def test_a_voice_that_the_model_cannot_take(server: Running) -> None:
    async def talk() -> object:
        async with connected(server, PACKED) as client:
            await client.send(type="Voice", embeddings=[0.5] * 8, shape=[1, 2, 4])
            await client.rest()
            return client.ended

    code, reason = asyncio.run(talk())  # type: ignore[misc]
    assert (code, "takes no voice embeddings" in reason) == (1007, True)
    server.until_free()


@pytest.mark.parametrize(
    "query", ["format=Mp3", "format=pcm", "seed=-1", "temperature=warm", "temperature=nan"]
)
def test_a_query_that_cannot_be(server: Running, query: str) -> None:
    import aiohttp

    async def talk() -> None:
        async with connected(server, f"{SPEAK}?{query}"):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(talk())
    assert refused.value.status == 400


def test_who_finds_no_slot() -> None:
    async def talk(server: Running) -> None:
        async with connected(server, PACKED) as inside:
            await inside.until("Ready")
            async with connected(server, PACKED) as outside:
                assert await outside.rest() == [{"type": "Error", "message": "no free channels"}]
                assert outside.ended == CLOSED_IN_PEACE
            async with connected(server, f"{SPEAK}?format=Pcm") as outside:
                assert await outside.next_bytes() is None
                assert outside.ended == (1013, "no free channels")

    with running(TTS, slots=1) as server:
        asyncio.run(talk(server))


def test_who_leaves_in_the_middle_frees_the_slot() -> None:
    async def talk(server: Running) -> None:
        for _ in range(5):
            async with connected(server, PACKED) as client:
                await client.until("Ready")
                await client.send(type="Text", text=f"{TEXT} " * 20)
                await client.send(type="Eos")
                await client.until("Audio")
            await asyncio.to_thread(server.until_free)
            assert server.server.registry.all[0].engine.statistics.steps < 5 * 20 * len(
                TEXT.split()
            )

    with running(TTS, slots=1) as server:
        asyncio.run(talk(server))


def test_a_text_is_posted(server: Running, spoken: Array) -> None:
    status, body, headers = asyncio.run(
        ask(server, "POST", f"{SPEAK}?x=y", json={"text": TEXT, "voice": ""})
    )
    assert (status, headers["Content-Type"]) == (200, "audio/wav")
    assert headers["Transfer-Encoding"] == "chunked"
    assert body[:4] + body[4:8] + body[40:44] == b"RIFF" + b"\xff" * 8
    samples, rate = soundfile.read(io.BytesIO(fixed(body)), dtype="float32")
    assert rate == RATE
    assert len(samples) > len(spoken) / 2


def fixed(wav: bytes) -> bytes:
    """With the length that its header leaves open."""
    size = len(wav) - 44
    lengths = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    return wav[:4] + lengths[0] + wav[8:40] + lengths[1] + wav[44:]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"text": "seven"}', 422),
        (b'{"text": 7, "voice": ""}', 422),
        (b"seven", 400),
        (b"[" * 100_000, 400),
        (b'{"text": "seven", "voice": "nobody"}', 400),
        (b'{"text": "' + b"seven " * 100 + b'", "voice": ""}', 400),
    ],
)
def test_what_cannot_be_posted(body: bytes, status: int) -> None:
    with running(TTS, limits=tight(characters=500)) as server:
        found, answer, _ = asyncio.run(ask(server, "POST", SPEAK, data=body))
    assert found == status
    assert answer.decode().count("\n") == 1


def test_what_is_no_message_ends_its_own_session_alone(server: Running, spoken: Array) -> None:
    async def talk() -> None:
        async with connected(server, PACKED) as good:
            await good.until("Ready")
            for bad in (b"\xc1", packed(type="Sing"), packed(type="Text", text=7), b"\x81"):
                async with connected(server, PACKED) as client:
                    await client.until("Ready")
                    await client.socket.send_bytes(bad)
                    assert await client.rest() == []
                    assert client.ended is not None
                    assert client.ended[0] == 1007
                await until_here(lambda: server.used == [1])
            await good.send(type="Text", text=TEXT)
            await good.send(type="Eos")
            reported = pcm_of(await good.rest())
            assert reported[: len(spoken)] == pytest.approx(np.clip(spoken, -0.99, 0.99), abs=1e-6)

    asyncio.run(talk())
    server.until_free()
