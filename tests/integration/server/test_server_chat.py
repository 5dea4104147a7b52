"""`/api/chat` over real sockets: Hibiki, spoken with as Kyutai's clients do."""

import asyncio
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from support.saved_streams import FOLDER as STREAMS
from support.serving import CHAT, FRAME, HIBIKI, Client, Running, connected, running, silence, tight
from support.speech import Array, say_aloud

from kyutai_onnx.models import Hibiki
from kyutai_onnx.models.events import Text
from kyutai_onnx.server.config import ModelConfig
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder, OpusEncoder

GREEDY = "?audio_temperature=0&text_temperature=0"
LIKELIEST = "?audio_topk=1&text_topk=1"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(HIBIKI, slots=2) as found:
        yield found


@pytest.fixture(scope="module")
def french(tmp_path_factory: pytest.TempPathFactory) -> Array:
    """A number in French, and silence in which it is translated."""
    path = tmp_path_factory.mktemp("french") / "number.wav"
    say_aloud(path, "sept cent vingt-trois", "fr-fr")
    from support.speech import whole

    return np.concatenate([whole(path), silence(4)])


def text_of_stream(audio: Array) -> str:
    """What the model says of it by itself, of the frames that are whole."""
    stream = Hibiki.load().stream(temperature=0, text_temperature=0)
    events = stream.feed(audio[: len(audio) // FRAME * FRAME])
    return "".join(event.text for event in events if isinstance(event, Text))


async def talked(client: Client, audio: Array) -> tuple[str, Array]:
    """The text and the speech that come back for some audio, as long as it is."""
    encoder, decoder = OpusEncoder(), OpusDecoder()
    text, recognized = "", [np.zeros(0, np.float32)]

    async def speak() -> None:
        for start in range(0, len(audio), 960):
            await client.socket.send_bytes(b"\1" + encoder.push(audio[start : start + 960]))

    speaking = asyncio.create_task(speak())
    wanted = len(audio) // FRAME - 20
    while sum(map(len, recognized)) < wanted * FRAME:
        data = await client.next_bytes()
        assert data is not None
        if data[0] == 2:
            text += data[1:].decode()
        elif data[0] == 1:
            recognized.append(decoder.push(data[1:]))
        else:
            assert data == b"\6"
    await speaking
    return text, np.concatenate(recognized)


@pytest.mark.parametrize(
    ("query", "reported"),
    [
        (GREEDY, {"audio_temperature": 0, "text_temperature": 0}),
        (LIKELIEST, {"audio_topk": 1, "text_topk": 1}),
    ],
)
def test_speech_goes_and_its_translation_comes(
    server: Running, french: Array, query: str, reported: dict[str, float]
) -> None:
    async def talk() -> tuple[str, Array]:
        async with connected(server, CHAT + query) as client:
            metadata = await client.next_bytes()
            assert metadata is not None
            assert metadata[0] == 4
            settings = json.loads(metadata[1:])
            assert {name: settings[name] for name in reported} == reported
            assert await client.next_bytes() == bytes(9)
            return await talked(client, french)

    through = OpusDecoder().push(OpusEncoder().push(french))
    text, recognized = asyncio.run(talk())
    expected = text_of_stream(through)
    assert "seven" in expected
    assert expected.startswith(text)
    assert len(text) > len(expected) // 2
    assert np.abs(recognized).max() > 0.05
    server.until_free()


def test_no_more_codes_are_drawn_from_than_can_be(server: Running) -> None:
    async def talk(asked: int) -> int:
        async with connected(server, f"{CHAT}?audio_topk={asked}") as client:
            metadata = await client.next_bytes()
            assert metadata is not None
            assert await client.next_bytes() == bytes(9)
            candidates: int = json.loads(metadata[1:])["audio_topk"]
            return candidates

    most = Hibiki.load().language_model.candidates
    assert [asyncio.run(talk(asked)) for asked in (0, 7, most, 10**6)] == [most, 7, most, most]


def test_who_asks_for_nothing_is_sent_what_the_servers_in_python_send(server: Running) -> None:
    async def talk() -> bytes | None:
        async with connected(server, CHAT) as client:
            return await client.next_bytes()

    assert asyncio.run(talk()) == bytes(9)


def test_metadata_is_whole(server: Running) -> None:
    async def talk() -> bytes | None:
        async with connected(server, CHAT + "?text_topk=25") as client:
            return await client.next_bytes()

    data = asyncio.run(talk())
    assert data is not None
    reported = json.loads(data[1:])
    assert set(reported) == {
        *("text_temperature", "text_topk", "audio_temperature", "audio_topk", "pad_mult"),
        *("repetition_penalty_context", "repetition_penalty", "lm_model_file"),
        *("mimi_model_file", "build_info", "instance_name"),
    }
    assert len(reported["build_info"]) == 10


@pytest.mark.parametrize(
    "query", ["text_temperature=hot", "audio_seed=1.5", "text_topk=-1", "audio_temperature=-1"]
)
def test_numbers_that_are_none(server: Running, query: str) -> None:
    async def talk() -> None:
        async with connected(server, f"{CHAT}?{query}"):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(talk())
    assert refused.value.status == 400


def test_what_else_is_sent_is_ignored(server: Running) -> None:
    async def talk() -> None:
        async with connected(server, CHAT) as client:
            assert await client.next_bytes() == bytes(9)
            for data in (b"", b"\3\0", b"\6", b"\x63what", b"\0\0\0"):
                await client.socket.send_bytes(data)
            await client.socket.send_str("hello")
            await client.socket.ping(b"any payload")
            await client.socket.send_bytes(b"\1" + OpusEncoder().push(silence(2)))
            while (data := await client.next_bytes()) == b"\6":  # sent to those who got nothing
                pass
            assert data is not None
            assert data[0] == 1

    asyncio.run(talk())


def test_what_is_no_ogg_ends_the_talk(server: Running) -> None:
    async def talk() -> object:
        async with connected(server, CHAT) as client:
            await client.next_bytes()
            await client.socket.send_bytes(b"\1" + b"garbage" * 10)
            assert await client.next_bytes() is None
            return client.ended

    code, reason = asyncio.run(talk())  # type: ignore[misc]
    assert (code, "Ogg" in reason) == (1007, True)
    server.until_free()


def test_the_second_waits_and_the_third_is_refused() -> None:
    async def talk(server: Running) -> None:
        async with connected(server, CHAT) as first:
            assert await first.next_bytes() == bytes(9)
            async with connected(server, CHAT) as second:
                await server.until_queued()
                async with connected(server, CHAT) as third:
                    assert await third.next_bytes() == b"\5no free channels"
                    assert await third.next_bytes() is None
                await first.socket.close()
                assert await second.next_bytes() == bytes(9)

    with running(HIBIKI, slots=1, limits=tight(queue=1)) as server:
        asyncio.run(talk(server))


@pytest.mark.parametrize(("takes_prompt", "role"), [(False, "hello"), (True, "hello " * 200)])
def test_a_role_that_a_model_does_not_take_is_refused(
    takes_prompt: bool, role: str, tmp_path: Path
) -> None:
    async def talk(server: Running) -> tuple[int | None, str] | None:
        async with connected(server, f"{CHAT}{LIKELIEST}&role={role}") as client:
            assert await client.next_bytes() is None
            return client.ended

    with running(ModelConfig(model=str(tiny_moshi(tmp_path, takes_prompt)))) as server:
        code, reason = asyncio.run(talk(server)) or (None, "")
        server.until_free()
    assert code == 1011
    assert "tiny-moshi" in reason


def test_a_role_is_given_and_no_file_of_the_server_is_read(tmp_path: Path) -> None:
    async def talk(server: Running) -> list[bytes | None]:
        query = f"{LIKELIEST}&role=hello&voice_prompt={tmp_path / 'bundle.json'}"
        async with connected(server, CHAT + query) as client:
            return [await client.next_bytes(), await client.next_bytes()]

    with running(ModelConfig(model=str(tiny_moshi(tmp_path, takes_prompt=True)))) as server:
        _, handshake = asyncio.run(talk(server))
        assert handshake == bytes(9)
        server.until_free()


def tiny_moshi(folder: Path, takes_prompt: bool) -> Path:
    """A bundle of random weights, with codes of a prompt or without."""
    with zipfile.ZipFile(STREAMS / "tiny-moshi.zip") as archive:
        archive.extractall(folder)
    file = folder / "tiny-moshi" / "bundle.json"
    manifest = json.loads(file.read_text())
    manifest["lm"]["context"] = 60
    codes = {"silence": [1] * 4, "partner": [2] * 4}
    prompt = codes | {"pause_frames": 6, "role_mark": "<system>", "loudness": -24}
    file.write_text(json.dumps(manifest | ({"prompt": prompt} if takes_prompt else {})))
    return file.parent
