"""The voices of a server: listed, asked for by name, or brought by a client."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.serving import SPEAK, Message, Running, ask, connected, get, running
from support.speaking import DIM, FRAMES, SUFFIX, speaking_bundle, write_voice

from kyutai_onnx.models import TextToSpeech
from kyutai_onnx.server.config import ModelConfig

TEXT = "one two three four"
LOUD = 3.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    speaking_bundle(folder)
    for name, loudness in (("calm.wav", 1.0), ("tales/merry.wav", LOUD)):
        write_voice(folder / "voices" / (name + SUFFIX), loudness)
    return folder


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Running]:
    with running(ModelConfig(model=str(bundle), name="toy", slots=2)) as found:
        yield found


async def codes_of(server: Running, query: str, *before: Message) -> list[float]:
    """The samples that are spoken."""
    path = f"{SPEAK}?format=PcmMessagePack&temperature=0{query}"
    async with connected(server, path) as client:
        for message in before:
            await client.send(**message)
        await client.send(type="Text", text=TEXT)
        await client.send(type="Eos")
        reported = await client.rest()
    assert [m["type"] for m in reported].count("Ready") == 1
    return [x for m in reported if m["type"] == "Audio" for x in m["pcm"]]


def test_they_are_listed(server: Running) -> None:
    _, body, _ = asyncio.run(get(server, "/api/voices?model=toy"))
    assert json.loads(body) == {
        "model": "toy",
        "default": "calm.wav",
        "voices": [
            {"name": "calm.wav", "place": "bundle"},
            {"name": "tales/merry.wav", "place": "bundle"},
        ],
    }


def test_they_speak_as_the_model_does_alone(server: Running, bundle: Path) -> None:
    model = TextToSpeech.load(bundle)
    for query, voice in (("", "calm.wav"), ("&voice=tales/merry.wav", "tales/merry.wav")):
        alone = model.speak(TEXT, voice, temperature=0.0).pcm
        spoken = asyncio.run(codes_of(server, query))
        assert spoken[: len(alone)] == pytest.approx(np.clip(alone, -0.99, 0.99), abs=1e-5)


def test_a_voice_that_a_client_brings(server: Running) -> None:
    voice = {"type": "Voice", "embeddings": [LOUD] * (DIM * FRAMES), "shape": [1, DIM, FRAMES]}
    brought = asyncio.run(codes_of(server, "", voice))
    assert brought == asyncio.run(codes_of(server, "&voice=tales/merry.wav"))
    assert brought != asyncio.run(codes_of(server, ""))


@pytest.mark.parametrize(
    ("voice", "said"),
    [
        ({"embeddings": [1.0] * 4, "shape": [1, 2, 2]}, "2 x 5"),
        ({"embeddings": [1.0] * 4, "shape": [1, 2, 3]}, "shape"),
    ],
)
def test_a_voice_of_another_model(server: Running, voice: Message, said: str) -> None:
    async def talk() -> object:
        async with connected(server, f"{SPEAK}?format=PcmMessagePack") as client:
            await client.send(type="Voice", **voice)
            await client.rest()
            return client.ended

    code, reason = asyncio.run(talk())  # type: ignore[misc]
    assert (code, said in reason) == (1007, True)
    server.until_free()


def test_a_voice_comes_before_the_text(server: Running) -> None:
    async def talk() -> object:
        async with connected(server, f"{SPEAK}?format=PcmMessagePack") as client:
            await client.send(type="Text", text="one")
            await client.send(type="Voice", embeddings=[1.0] * 10, shape=[1, 2, 5])
            await client.rest()
            return client.ended

    code, reason = asyncio.run(talk())  # type: ignore[misc]
    assert (code, "before" in reason) == (1007, True)


def test_unknown_ones_are_not_looked_for_in_files(server: Running, bundle: Path) -> None:
    inside = bundle / "voices" / ("calm.wav" + SUFFIX)
    for name in (str(inside), f"../voices/calm.wav{SUFFIX}", "calm", "hf://kyutai/x/a.wav"):
        body = {"text": TEXT, "voice": name}
        status, answer, _ = asyncio.run(ask(server, "POST", SPEAK, json=body))
        assert (status, answer[:8]) == (400, b"no voice")


def test_one_may_be_the_default(bundle: Path) -> None:
    config = ModelConfig(model=str(bundle), voice="tales/merry.wav")
    with running(config) as server:
        _, body, _ = asyncio.run(get(server, "/api/voices"))
        assert json.loads(body)["default"] == "tales/merry.wav"
        default = asyncio.run(codes_of(server, ""))
        assert default == asyncio.run(codes_of(server, "&voice=tales/merry.wav"))
        assert default != asyncio.run(codes_of(server, "&voice=calm.wav"))
