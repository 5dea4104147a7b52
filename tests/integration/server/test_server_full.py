"""A server without a free slot that refuses websockets by a status, so that a balancer can try
another one."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest
from support.serving import (
    CHAT,
    HIBIKI,
    LISTEN,
    REALTIME,
    SPEAK,
    STT,
    TTS,
    UPGRADE,
    Client,
    Running,
    connected,
    get,
    running,
    transcribed,
    words_of,
)
from support.speech import Array
from support.waiting import until_here

from kyutai_onnx.server.wire import NO_ROOM

PATHS = (LISTEN, f"{SPEAK}?format=PcmMessagePack", CHAT)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, HIBIKI, slots=1, when_full="503") as found:
        yield found


@pytest.fixture(autouse=True)
def _free(server: Running) -> Iterator[None]:
    yield
    server.until_free()


async def refusal(server: Running, path: str) -> aiohttp.WSServerHandshakeError:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(server, path):
            pass
    return refused.value


@pytest.mark.parametrize("index", range(len(PATHS)))
def test_a_websocket_without_a_slot_gets_a_status(server: Running, index: int) -> None:
    """Also one of a protocol whose clients wait for a slot otherwise."""

    async def first(client: Client) -> bytes | None:
        return await client.next_bytes()

    async def talk() -> None:
        refused = server.server.registry.all[index].engine.statistics.refused
        async with connected(server, PATHS[index]) as inside:
            assert await first(inside)
            answer = await refusal(server, PATHS[index])
            assert answer.status == 503
            assert answer.headers is not None
            assert answer.headers["Retry-After"] == "1"
        assert server.server.registry.all[index].engine.statistics.refused == refused + 1
        await until_here(lambda: server.used[index] == 0)
        async with connected(server, PATHS[index]) as again:
            assert await first(again)

    asyncio.run(talk())


def test_realtime_without_a_slot_gets_a_status(server: Running) -> None:
    async def talk() -> None:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            assert (await refusal(server, REALTIME)).status == 503
        await until_here(lambda: not any(server.used))
        async with connected(server, REALTIME) as again:
            assert (await again.socket.receive_json())["type"] == "session.created"

    asyncio.run(talk())


def test_a_slot_is_taken_before_the_upgrade(server: Running, pcm: Array, text: str) -> None:
    """Of clients that come at once none is let in without one."""

    async def enter() -> int:
        try:
            async with connected(server, LISTEN) as client:
                assert (await client.next() or {})["type"] == "Ready"
                await waiting.wait()
                return 101
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status

    async def talk() -> list[int]:
        clients = [asyncio.create_task(enter()) for _ in range(8)]
        await until_here(lambda: sum(client.done() for client in clients) == 7)
        waiting.set()
        return await asyncio.gather(*clients)

    waiting = asyncio.Event()
    assert sorted(asyncio.run(talk())) == [101, *[503] * 7]
    server.until_free()
    assert words_of(asyncio.run(transcribed(server, pcm))) == text


def test_an_upgrade_that_is_invalid_gets_a_status(server: Running) -> None:
    """Though its session has a slot already."""
    for path in (*PATHS, REALTIME):
        headers = UPGRADE | {"Sec-WebSocket-Version": "1"}
        assert asyncio.run(get(server, path, headers=headers))[0] == 400


def test_an_unknown_voice_is_reported_as_before(server: Running) -> None:
    async def talk() -> object:
        async with connected(server, f"{SPEAK}?format=PcmMessagePack&voice=nobody") as client:
            return (await client.next() or {})["type"]

    assert asyncio.run(talk()) == "Error"


def test_errors_of_realtime_are_json(server: Running) -> None:
    async def talk() -> tuple[int, str]:
        async with connected(server, LISTEN) as inside:
            await inside.until("Ready")
            status, body, _ = await get(server, REALTIME, headers=UPGRADE)
            return status, json.loads(body)["error"]["message"]

    assert asyncio.run(talk()) == (503, NO_ROOM)
