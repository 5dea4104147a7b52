"""`/api/asr-streaming` over real sockets: what moshi-server's clients send and rely on."""

import asyncio
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import msgpack
import numpy as np
import pytest
import soundfile
from support.serving import (
    CLOSED_IN_PEACE,
    FRAME,
    LISTEN,
    SECONDS,
    STT,
    Running,
    ask,
    connected,
    packed,
    running,
    silence,
    tight,
    transcribed,
    words_of,
)
from support.speech import Array, hiss, wav_bytes
from support.waiting import until_here

from kyutai_onnx.models import Word
from kyutai_onnx.server.wire.ogg_opus import OpusEncoder


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, slots=4) as found:
        yield found


def test_the_words_are_those_of_transcribe(server: Running, pcm: Array, text: str) -> None:
    reported = asyncio.run(transcribed(server, pcm))
    assert words_of(reported) == text


def test_every_frame_is_reported_in_order(server: Running, pcm: Array) -> None:
    reported = asyncio.run(transcribed(server, pcm))
    steps = [message for message in reported if message["type"] == "Step"]
    assert [step["step_idx"] for step in steps] == list(range(len(steps)))
    assert all(len(step["prs"]) == 4 for step in steps)
    recognized = (len(pcm) + 24000) // FRAME
    assert recognized <= len(steps) <= recognized + 25
    starts = [message["start_time"] for message in reported if message["type"] == "Word"]
    assert starts == sorted(starts)
    assert reported[-1] == {"type": "Marker", "id": 7}


def test_a_second_of_silence_before_shifts_the_times(
    server: Running, pcm: Array, text: str, words: list[Word]
) -> None:
    reported = asyncio.run(transcribed(server, pcm, before=1.0))
    assert words_of(reported) == text
    starts = [message["start_time"] for message in reported if message["type"] == "Word"]
    assert [start - word.start for start, word in zip(starts, words, strict=True)] == pytest.approx(
        [1.0] * len(words), abs=0.25
    )


def test_several_clients_get_their_own(server: Running, pcm: Array, text: str) -> None:
    async def together() -> list[str]:
        delays = [silence(0.3 * index) for index in range(4)]
        reported = await asyncio.gather(
            *(transcribed(server, np.concatenate([delay, pcm])) for delay in delays)
        )
        return [words_of(messages) for messages in reported]

    assert asyncio.run(together()) == [text] * 4


@pytest.mark.parametrize("step", [480, 960, 5000, 10**9])
def test_messages_of_any_length(server: Running, pcm: Array, text: str, step: int) -> None:
    async def talk() -> str:
        async with connected(server, LISTEN) as client:
            await client.speak(np.concatenate([pcm, silence(1)]), step)
            await client.send(type="Marker", id=1)
            await client.speak(silence(2), step)
            return words_of(await client.until("Marker"))

    assert asyncio.run(talk()) == text


def test_ogg_opus_is_transcribed_too(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> str:
        encoder = OpusEncoder()
        async with connected(server, LISTEN) as client:
            whole = np.concatenate([pcm, silence(3)])
            for start in range(0, len(whole), FRAME):
                data = encoder.push(whole[start : start + FRAME])
                await client.send(type="OggOpus", data=list(data))
            await client.send(type="Marker", id=1)
            await client.speak(silence(1))
            return words_of(await client.until("Marker"))

    assert asyncio.run(talk()) == text


def test_init_restarts(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> list[str]:
        async with connected(server, LISTEN) as client:
            found = []
            for _ in range(2):
                await client.until("Ready")
                await client.speak(np.concatenate([pcm, silence(3)]))
                await client.send(type="Marker", id=1)
                await client.speak(silence(1))
                found.append(words_of(await client.until("Marker")))
                await client.send(type="Init")
            return found

    assert asyncio.run(talk()) == [text, text]


def test_text_and_pings_are_no_messages(server: Running, pcm: Array, text: str) -> None:
    async def talk() -> str:
        async with connected(server, LISTEN + "?format=x&voice=y", autoping=False) as client:
            await client.socket.send_str("hello")
            await client.socket.ping(b"random payload")
            await client.send(type="Ping")
            await client.speak(np.concatenate([pcm, silence(3)]))
            pong = await client.socket.receive()
            assert (pong.type, bytes(pong.data)) in [
                (aiohttp.WSMsgType.PONG, b"random payload"),
                (aiohttp.WSMsgType.BINARY, packed(type="Ready")),
            ]
            found = []
            while len(found) < len(text.split()):
                received = await client.socket.receive(timeout=SECONDS)
                if received.type is aiohttp.WSMsgType.BINARY:
                    message = msgpack.unpackb(received.data)
                    found += [message["text"]] if message["type"] == "Word" else []
            return " ".join(found)

    assert asyncio.run(talk()) == text


def test_who_finds_no_slot_is_reported_and_closed_without_a_code(pcm: Array, text: str) -> None:
    async def talk(server: Running) -> None:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            async with connected(server, LISTEN) as outside:
                assert await outside.next() == {"type": "Error", "message": "no free channels"}
                assert await outside.next() is None
                assert outside.ended == CLOSED_IN_PEACE
            await inside.speak(np.concatenate([pcm, silence(3)]))
            await inside.send(type="Marker", id=1)
            await inside.speak(silence(1))
            assert words_of(await inside.until("Marker")) == text
        await until_here(lambda: server.used == [0])
        async with connected(server, LISTEN) as again:
            assert await again.next() == {"type": "Ready"}

    with running(STT, slots=1) as server:
        asyncio.run(talk(server))


def test_who_may_wait_gets_the_next_slot() -> None:
    async def queued(server: Running) -> None:
        async with connected(server, LISTEN) as first:
            await first.until("Ready")
            async with connected(server, LISTEN) as second:
                await server.until_queued()
                await first.socket.close()
                assert await second.next() == {"type": "Ready"}

    with running(STT, slots=1, limits=tight(wait=SECONDS, stream_wait=SECONDS)) as server:
        asyncio.run(queued(server))


def test_a_whole_file_is_posted(server: Running, speech: Path, words: list[Word]) -> None:
    status, body, headers = asyncio.run(ask(server, "POST", LISTEN, data=speech.read_bytes()))
    reported = json.loads(body)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "application/json")
    assert [m["text"] for m in reported if m["type"] == "Word"] == [word.text for word in words]
    ends = [m["stop_time"] for m in reported if m["type"] == "EndWord"]
    assert ends == pytest.approx([word.end for word in words])
    assert [set(m) for m in reported[:2]] == [{"type", "text", "start_time"}, {"type", "stop_time"}]


def test_other_rates_and_formats_are_posted(server: Running, pcm: Array, text: str) -> None:
    for form, rate in (("FLAC", 24000), ("OGG", 24000), ("MP3", 24000)):
        content = io.BytesIO()
        soundfile.write(content, pcm, rate, format=form)
        _, body, _ = asyncio.run(ask(server, "POST", LISTEN, data=content.getvalue()))
        assert words_of(json.loads(body)) == text, form


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"no audio at all" * 10, "not audio"),
        (b"\0\0\0\x18ftypM4A " + bytes(100), "ffmpeg"),
        (wav_bytes(hiss(0.5))[:-100], "cut short"),
    ],
)
def test_what_is_no_recording_is_refused(server: Running, body: bytes, said: str) -> None:
    status, answer, _ = asyncio.run(ask(server, "POST", LISTEN, data=body))
    assert status == 400
    assert said in answer.decode()
    assert answer.decode().count("\n") == 1
    server.until_free()


def test_posts_have_bounds() -> None:
    with running(STT, limits=tight(body=100_000, audio=2.0)) as server:
        status, _, _ = asyncio.run(ask(server, "POST", LISTEN, data=bytes(100_001)))
        assert status == 413
        status, answer, _ = asyncio.run(ask(server, "POST", LISTEN, data=flac(hiss(0.0), 3.0)))
        assert status == 400
        assert "longer than 2 s" in answer.decode()
        server.until_free()


def flac(before: Array, seconds: float) -> bytes:
    """Much silence in few bytes."""
    content = io.BytesIO()
    soundfile.write(content, np.concatenate([before, silence(seconds)]), 24000, format="FLAC")
    return content.getvalue()


def test_posts_wait_for_a_slot(pcm: Array, speech: Path, text: str) -> None:
    async def talk(server: Running) -> str:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            posting = asyncio.create_task(ask(server, "POST", LISTEN, data=speech.read_bytes()))
            await server.until_queued()
            assert not posting.done()
        return words_of(json.loads((await posting)[1]))

    with running(STT, slots=1) as server:
        assert asyncio.run(talk(server)) == text


def test_posts_that_waited_too_long_are_reported() -> None:
    async def talk(server: Running) -> tuple[int, bytes, Mapping[str, str]]:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            return await ask(server, "POST", LISTEN, data=wav_bytes(hiss(0.5)))

    with running(STT, slots=1, limits=tight(wait=0.1)) as server:
        status, body, headers = asyncio.run(talk(server))
    assert (status, body, headers["Retry-After"]) == (503, b"no free channels\n", "1")


def test_a_model_is_chosen_by_name_or_path(speech: Path) -> None:
    import dataclasses

    second = dataclasses.replace(STT, name="second", path="/api/second")
    with running(STT, second) as server:
        for path in (f"{LISTEN}?model=second", "/api/second"):
            assert asyncio.run(ask(server, "POST", path, data=speech.read_bytes()))[0] == 200
        counted = [served.engine.statistics.opened for served in server.server.registry.all]
        assert counted == [0, 2]
        status, body, _ = asyncio.run(ask(server, "POST", f"{LISTEN}?model=none", data=b""))
        assert status == 404
        assert "stt-demo-en, second" in body.decode()
