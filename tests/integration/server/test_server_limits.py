"""How long clients may be silent, idle or slow, how far ahead of the model, and how sessions end
when the model fails or the server stops."""

import asyncio
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from support.serving import (
    LISTEN,
    SECONDS,
    SPEAK,
    STT,
    TTS,
    Running,
    ask,
    connected,
    frame,
    get,
    packed,
    running,
    silence,
    tight,
    transcribed,
    upgrade,
    words_of,
)
from support.siege import everything
from support.speech import RATE, Array

from kyutai_onnx.server.engine import Session
from kyutai_onnx.server.engine.events import Ended
from kyutai_onnx.server.web.websocket_session import CLOSING


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, slots=3) as found:
        yield found


def test_a_client_that_is_silent_is_given_up() -> None:
    with (
        running(STT, limits=tight(silence=1.0)) as server,
        upgrade(LISTEN, server.server.port) as raw,
    ):
        raw.settimeout(SECONDS)
        assert b"Ready" in everything(raw)
        server.until_free()


def test_a_client_that_waits_for_its_words_is_not(pcm: Array, text: str) -> None:
    async def talk(server: Running) -> str:
        many = np.tile(np.concatenate([pcm, silence(3)]), 25)
        seconds = [many[start : start + RATE].tolist() for start in range(0, len(many), RATE)]
        audio = [packed(type="Audio", pcm=one) for one in seconds]
        async with connected(server, LISTEN, autoping=False) as client:
            for message in audio:
                await client.socket.send_bytes(message)
            await client.send(type="Marker", id=1)
            await client.speak(silence(1), RATE)
            return words_of(await client.until("Marker"))

    with running(STT, limits=tight(silence=2.0)) as server:
        recognized = asyncio.run(talk(server))
    assert recognized.startswith(text)
    assert recognized.count("alarm") == 25


def test_an_idle_session_ends_with_a_reason() -> None:
    async def talk(server: Running) -> object:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.rest()
            return client.ended

    with running(STT, limits=tight(idle=0.2)) as server:
        assert asyncio.run(talk(server)) == CLOSING["idle"]
    with running(STT, limits=tight(session=0.2)) as server:
        code, reason = asyncio.run(talk(server))  # type: ignore[misc]
        assert (code, "longest duration" in reason) == (1008, True)


def test_a_client_that_takes_nothing_is_held_then_ended() -> None:
    with (
        running(TTS, limits=tight(stall=0.5)) as server,
        upgrade(f"{SPEAK}?format=Pcm", server.server.port) as raw,
    ):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(frame(packed(type="Text", text="seven twenty three " * 2000)[:60000], 0x82))
        raw.sendall(frame(b"seven twenty three " * 3000, 0x81))
        engine = server.server.registry.all[0].engine
        server.until_opened()
        server.until_free()
        assert engine.statistics.steps < 20_000


def test_a_sender_ahead_of_the_model_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, backlogs = Session.feed, list[float]()

    def noted(session: Session, item: object) -> None:
        feed(session, item)
        backlogs.append(session.backlog)

    monkeypatch.setattr(Session, "feed", noted)

    async def talk(server: Running) -> int:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.speak(silence(60), 24000)
            await client.send(type="Marker", id=1)
            await client.speak(silence(1))
            reported = await client.until("Marker")
            return sum(message["type"] == "Step" for message in reported)

    with running(STT, limits=tight(backlog=2.0)) as server:
        steps = asyncio.run(talk(server))
    assert 0.5 < max(backlogs) <= 3.1
    assert steps >= 60 * 12.5


def test_other_requests_are_answered_meanwhile(server: Running, pcm: Array) -> None:
    async def talk() -> None:
        async with connected(server, LISTEN) as client:
            await client.speak(np.tile(pcm, 10), 10**9)
            for _ in range(20):
                assert (await get(server, "/health"))[0] == 200

    asyncio.run(talk())
    server.until_free()


def test_a_fault_of_the_model_ends_its_sessions_and_no_more(
    pcm: Array, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(server: Running) -> object:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.speak(pcm)
            await client.rest()
            return client.ended

    def broken(*_: object) -> bool:
        raise RuntimeError("a graph failed")

    with running(STT) as server:
        with monkeypatch.context() as patch:
            engine = server.server.registry.all[0].engine
            patch.setattr(type(engine.loop.active.batch), "step", broken)
            code, reason = asyncio.run(talk(server))  # type: ignore[misc]
        assert (code, "a graph failed" in reason) == (1011, False)
        assert words_of(asyncio.run(transcribed(server, pcm))) == text


@pytest.mark.parametrize("path", [LISTEN, f"{SPEAK}?format=PcmMessagePack"])
def test_a_server_that_stops_reports_its_clients(path: str) -> None:
    async def talk(server: Running) -> object:
        async with connected(server, path) as client:
            await client.until("Ready")
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            await client.rest()
            await stopping
            return client.ended

    with running(STT, TTS) as server:
        assert asyncio.run(talk(server)) == CLOSING["shutdown"]


def test_posts_of_a_server_that_stops_are_reported() -> None:
    async def talk(server: Running) -> int:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            from support.speech import hiss, wav_bytes

            posting = asyncio.create_task(ask(server, "POST", LISTEN, data=wav_bytes(hiss(1))))
            await server.until_queued()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            status = (await posting)[0]
            await stopping
            return status

    with running(STT, slots=1) as server:
        assert asyncio.run(talk(server)) == 503


def test_every_reason_has_a_way_to_close() -> None:
    from typing import get_args, get_type_hints

    reasons = set(get_args(get_type_hints(Ended)["reason"]))
    assert set(CLOSING) == reasons - {"done", "busy"}
