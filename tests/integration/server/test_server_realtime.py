"""What goes wrong over the Realtime API, and who may use it. The rest is tried by OpenAI's own
package in tests/conformance/test_openai_realtime.py."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from support.serving import (
    LISTEN,
    REALTIME,
    STT,
    TTS,
    Client,
    Running,
    ask,
    connected,
    running,
    tight,
)
from support.speech import Array

from kyutai_onnx.runtime.audio.pcm import encode
from kyutai_onnx.server.openai.realtime.audio import OutputEncoder

TRANSCRIBE = f"{REALTIME}?intent=transcription"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
MANUAL = {"audio": {"input": {"turn_detection": None}}}
Event = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, slots=1) as found:
        yield found


@pytest.fixture(autouse=True)
def _free(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a session behind."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").until_free()


async def send(client: Client, kind: str, **more: Any) -> None:
    await client.socket.send_json({"type": kind, **more})


async def append(client: Client, pcm: Array) -> None:
    audio = base64.b64encode(encode(pcm.astype(np.float32), "s16le")).decode()
    await send(client, "input_audio_buffer.append", audio=audio)


async def until(client: Client, kind: str) -> Event:
    """The next event of a kind."""
    while True:
        event: Event = await client.socket.receive_json(timeout=60)
        if event["type"] == kind:
            return event


async def refused(client: Client) -> Any:
    """The code of the next error."""
    return (await until(client, "error"))["error"]["code"]


async def closed(client: Client) -> int:
    """The code by which the server closes."""
    while (message := await client.socket.receive(timeout=60)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert message.type is aiohttp.WSMsgType.CLOSE
    code: int = message.data
    return code


async def say(client: Client, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await send(client, "conversation.item.create", item=item)
    await send(client, "response.create")


def test_a_key_is_needed_in_a_header_or_a_protocol() -> None:
    async def come(server: Running, path: str = REALTIME, **options: Any) -> str | None:
        async with connected(server, path, **options) as client:
            await until(client, "session.created")
            return client.socket.protocol

    def protocols(key: str) -> dict[str, Any]:
        return {"protocols": ("realtime", f"openai-insecure-api-key.{key}")}

    with running(STT, api_keys=("right",)) as server:
        assert asyncio.run(come(server, headers={"Authorization": "Bearer right"})) is None
        assert asyncio.run(come(server, **protocols("right"))) == "realtime"
        wrong: list[dict[str, Any]] = [
            {},
            protocols("wrong"),
            {"headers": {"Authorization": "Bearer wrong"}, **protocols("right")},
        ]
        for options in wrong:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                asyncio.run(come(server, **options))
            assert refusal.value.status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [(f"{REALTIME}?model=nobody", 404), (f"{REALTIME}?intent=dance", 400)],
)
def test_an_address_that_asks_for_what_is_not_there(
    server: Running, path: str, status: int
) -> None:
    async def come() -> None:
        async with connected(server, path):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        asyncio.run(come())
    assert refusal.value.status == status
    assert asyncio.run(ask(server, "GET", REALTIME))[0] == 426


def test_nothing_that_a_client_sends_ends_its_session(
    server: Running, pcm: Array, text: str
) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            for message in ("", "[]", "{", '{"type": 7}', '{"type": "x"}', "\u2603", "[" * 5000):
                await client.socket.send_str(message)
                assert await refused(client) in ("invalid_event", "unknown_event")
            await client.socket.send_bytes(b"\xff\xfe")
            assert await refused(client) == "invalid_event"
            for kind, more in (
                ("input_audio_buffer.append", {"audio": "no base64!"}),
                ("input_audio_buffer.append", {}),
                ("session.update", {"session": 3}),
                ("session.update", {"session": {"audio": {"input": {"format": {"type": "mp3"}}}}}),
                ("session.update", {"session": {"output_modalities": ["text"]}}),
                ("conversation.item.create", {"item": {"content": 3}}),
            ):
                await send(client, kind, **more)
                assert await refused(client) == "invalid_value"
            for change in (
                {"tools": [{"type": "function", "name": "f"}]},
                {"audio": {"input": {"transcription": {"model": "nobody"}}}},
                {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1}}}},
            ):
                await send(client, "session.update", session=change)
                assert (await until(client, "error"))["error"]["message"]
            await send(client, "session.update", session=MANUAL)
            await append(client, pcm)
            await send(client, "input_audio_buffer.commit")
            assert (await until(client, f"{TRANSCRIPTION}.completed"))["transcript"] == text

    asyncio.run(go())


def test_settings_of_audio_wait_for_the_buffer_to_be_empty(server: Running, pcm: Array) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            await append(client, pcm[:4800])
            await send(client, "session.update", session=MANUAL)
            assert await refused(client) == "input_audio_buffer_not_empty"
            await send(client, "input_audio_buffer.clear")
            await until(client, "input_audio_buffer.cleared")
            await send(client, "session.update", session=MANUAL)
            await until(client, "session.updated")

    asyncio.run(go())


def test_settings_of_audio_change_between_turns(server: Running, pcm: Array, text: str) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            first = await turn(client, "audio/pcm")
            assert first["transcript"] == text
            started = len(pcm) / 24_000 * 1000
            change = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
            await send(client, "session.update", session=change)
            updated = await until(client, "session.updated")
            assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
            speech = await turn(client, "audio/pcmu", started)
            assert speech["item_id"] != first["item_id"]
            assert speech["transcript"]
            await append_as(client, pcm[:24_000], "audio/pcmu")
            await until(client, "input_audio_buffer.speech_started")
            await send(client, "session.update", session=MANUAL)
            assert await refused(client) == "input_audio_buffer_not_empty"

    async def turn(client: Client, kind: str, after: float = 0.0) -> Event:
        """The transcript of a turn that starts `after` so many milliseconds."""
        await append_as(client, np.concatenate([pcm, np.zeros(48_000, np.float32)]), kind)
        started = await until(client, "input_audio_buffer.speech_started")
        assert started["audio_start_ms"] >= after
        return await until(client, f"{TRANSCRIPTION}.completed")

    async def append_as(client: Client, samples: Array, kind: str) -> None:
        encoder = OutputEncoder(kind, 24_000)
        audio = base64.b64encode(encoder.push(samples) + encoder.flush()).decode()
        await send(client, "input_audio_buffer.append", audio=audio)

    asyncio.run(go())


def test_half_a_sample_keeps_its_format(server: Running) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            await send(client, "input_audio_buffer.append", audio="")
            await send(client, "session.update", session=MANUAL)
            await until(client, "session.updated")
            assert server.used == [0, 0]
            await send(client, "input_audio_buffer.append", audio="AA==")
            change = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
            await send(client, "session.update", session=change)
            assert await refused(client) == "input_audio_buffer_not_empty"
            await send(client, "input_audio_buffer.clear")
            await send(client, "session.update", session=change)
            await until(client, "session.updated")

    asyncio.run(go())


def test_words_that_the_model_cannot_spell_fail_one_item(
    server: Running, pcm: Array, text: str
) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            for keywords in (["\u2603"], []):
                change = {
                    "input": {"turn_detection": None, "transcription": {"keywords": keywords}}
                }
                await send(client, "session.update", session={"audio": change})
                await append(client, pcm)
                await send(client, "input_audio_buffer.commit")
                if keywords:
                    failed = await until(client, f"{TRANSCRIPTION}.failed")
                    assert "spell" in failed["error"]["message"]
            assert (await until(client, f"{TRANSCRIPTION}.completed"))["transcript"] == text

    asyncio.run(go())


def test_a_commit_ends_a_turn_that_goes_on(server: Running, pcm: Array, text: str) -> None:
    async def go() -> None:
        async with connected(server, TRANSCRIBE) as client:
            await append(client, pcm)
            started = await until(client, "input_audio_buffer.speech_started")
            await send(client, "input_audio_buffer.commit")
            committed = await until(client, "input_audio_buffer.committed")
            assert committed["item_id"] == started["item_id"]
            assert (await until(client, f"{TRANSCRIPTION}.completed"))["transcript"] == text

    asyncio.run(go())


def test_speech_of_the_client_interrupts_a_response(server: Running, pcm: Array) -> None:
    async def go() -> None:
        async with connected(server, REALTIME) as client:
            await say(client, "seven twenty " * 100)
            await until(client, "response.output_audio.delta")
            await send(client, "response.create")
            assert await refused(client) == "conversation_already_has_active_response"
            await append(client, pcm)
            done = (await until(client, "response.done"))["response"]
            assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}

    asyncio.run(go())


def test_a_response_that_is_cancelled_at_once_was_created(server: Running) -> None:
    async def go() -> None:
        async with connected(server, REALTIME) as client:
            await say(client, "seven twenty " * 100)
            await send(client, "response.cancel")
            created = (await until(client, "response.created"))["response"]
            done = (await until(client, "response.done"))["response"]
            assert (done["id"], done["status"]) == (created["id"], "cancelled")

    asyncio.run(go())


def test_a_response_that_fails_leaves_the_session(server: Running) -> None:
    async def go() -> None:
        async with connected(server, REALTIME) as client:
            for voice in ("nobody", "default"):
                change = {"audio": {"output": {"voice": voice}}}
                await send(client, "session.update", session=change)
                await say(client, "seven")
                done = (await until(client, "response.done"))["response"]
                assert done["status"] == ("failed" if voice == "nobody" else "completed")

    asyncio.run(go())


def test_a_client_that_leaves_frees_its_slots(server: Running, pcm: Array) -> None:
    async def go() -> None:
        async with connected(server, REALTIME) as client:
            listening = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
            await send(client, "session.update", session={"audio": {"input": listening}})
            await say(client, "seven " * 500)
            await until(client, "response.output_audio.delta")
            await append(client, np.tile(pcm, 5))
            await until(client, f"{TRANSCRIPTION}.delta")
            assert server.used == [1, 1]

    asyncio.run(go())
    server.until_free()


def test_models_that_are_not_served() -> None:
    async def listen(server: Running) -> None:
        async with connected(server, REALTIME) as client:
            await say(client, "seven")
            assert await refused(client) == "model_not_found"

    async def speak(server: Running) -> None:
        async with connected(server, REALTIME) as client:
            change = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
            await send(client, "session.update", session=change)
            assert await refused(client) == "model_not_found"
            await append(client, np.zeros(2400))
            await send(client, "input_audio_buffer.commit")
            await until(client, "input_audio_buffer.committed")
            await say(client, "seven")
            assert (await until(client, "response.done"))["response"]["status"] == "completed"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(server, TRANSCRIBE):
                pass

    with running(STT) as server:
        asyncio.run(listen(server))
    with running(TTS) as server:
        asyncio.run(speak(server))


def test_limits_of_texts_and_of_requests() -> None:
    async def go(server: Running) -> None:
        async with connected(server, REALTIME) as client:
            await say(client, "seven " * 10)
            assert await refused(client) == "string_above_max_length"
            assert await refused(client) == "nothing_to_speak"
            await say(client, "seven")
            await until(client, "response.done")
            await say(client, "seven")
            assert await refused(client) == "rate_limit_exceeded"
            await send(client, "response.create")
            assert await refused(client) == "rate_limit_exceeded"  # the text still waits

    with running(TTS, limits=tight(characters=20, rate=2)) as server:
        asyncio.run(go(server))


def test_a_full_server_says_so_and_closes(pcm: Array) -> None:
    async def go(server: Running) -> None:
        async with connected(server, LISTEN) as holder, connected(server, TRANSCRIBE) as client:
            assert (await holder.next() or {})["type"] == "Ready"
            await append(client, pcm)
            assert await refused(client) == "server_busy"
            assert await closed(client) == aiohttp.WSCloseCode.TRY_AGAIN_LATER

    with running(STT, slots=1, limits=tight(queue=0)) as server:
        asyncio.run(go(server))
    with running(STT, slots=1, limits=tight(wait=0.2)) as server:
        asyncio.run(go(server))


@pytest.mark.parametrize("limit", ["idle", "session"])
def test_a_client_that_stays_for_too_long(limit: str) -> None:
    async def go(server: Running) -> None:
        async with connected(server, TRANSCRIBE) as client:
            assert await closed(client) == aiohttp.WSCloseCode.POLICY_VIOLATION

    with running(STT, limits=tight(**{limit: 0.2})) as server:
        asyncio.run(go(server))


@pytest.mark.parametrize("listens", [False, True])
def test_a_server_that_stops_says_so(pcm: Array, *, listens: bool) -> None:
    async def go(server: Running) -> None:
        async with connected(server, TRANSCRIBE) as client:
            await until(client, "session.created")
            if listens:
                await append(client, pcm)
                await until(client, "input_audio_buffer.speech_started")
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            assert await closed(client) == aiohttp.WSCloseCode.GOING_AWAY
            await stopping

    with running(STT) as server:
        asyncio.run(go(server))
