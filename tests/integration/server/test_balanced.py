"""HAProxy, by the files in `deploy/cluster`, before two servers: which one takes a stream, and what
becomes of it when its server drains."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from support.serving import FRAME, LISTEN, SECONDS, UPGRADE, Client, http, silence, words_of
from support.speech import RATE, Array
from support.waiting import until, until_here

from benchmarks.balanced import SLOTS, Balancer, balanced
from benchmarks.served import ServedProcess

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy") is None or sys.platform == "win32", reason="haproxy is not installed"
)


@dataclass
class Cluster:
    """Two servers, and the balancer before them, which probes them often."""

    one: ServedProcess
    two: ServedProcess
    balancer: Balancer

    @property
    def url(self) -> str:
        """Where clients come."""
        return self.balancer.url

    @contextlib.asynccontextmanager
    async def client(self, url: str | None = None) -> AsyncIterator[tuple[Client, str]]:
        """A client of the balancer, or of a server itself, once it has a slot; and the server that
        has it."""
        async with (
            http() as session,
            session.ws_connect((url or self.url) + LISTEN) as opened,
        ):
            client = Client(opened)
            assert (await client.next() or {})["type"] == "Ready"
            yield client, opened._response.headers["Kyutai-Instance"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with balanced(tmp_path_factory.mktemp("balanced"), inter="100ms") as (balancer, one, two):
        yield Cluster(one, two, balancer)


async def speak(client: Client, pcm: Array) -> None:
    """Sends audio at the pace of speech."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    for start in range(0, len(pcm), FRAME):
        await asyncio.sleep(begun + start / RATE - clock())
        await client.speak(pcm[start : start + FRAME])


async def words_to_the_end(client: Client) -> str:
    await client.speak(silence(1))
    await client.send(type="Marker", id=1)
    await client.speak(silence(1))
    return words_of(await client.until("Marker"))


def test_a_full_server_is_passed_over(cluster: Cluster, pcm: Array, text: str) -> None:
    """The balancer does not know of the clients that came to it otherwise. When both are full, it
    refuses after a moment."""

    async def talk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(SLOTS):
                await stack.enter_async_context(cluster.client(cluster.one.url))
            for _ in range(2):
                client, name = await stack.enter_async_context(cluster.client())
                assert name == "two"
            await client.speak(pcm)
            assert await words_to_the_end(client) == text
            assert refused(cluster.one) > 0
            for _ in range(SLOTS - 2):
                await stack.enter_async_context(cluster.client(cluster.two.url))
            async with http() as session, session.get(cluster.url + LISTEN, headers=UPGRADE) as no:
                assert (no.status, "Retry-After" in no.headers) == (503, True)

    asyncio.run(asyncio.wait_for(talk(), SECONDS))
    assert json.loads(cluster.one.get("/ready"))["instance"] == "one"
    until(lambda: not cluster.one.used + cluster.two.used)


def refused(server: ServedProcess) -> float:
    """Sessions for which the server had no slot."""
    found = re.search(
        r"^kyutai_sessions_refused_total{.*} (.*)$", server.get("/metrics"), re.MULTILINE
    )
    assert found is not None
    return float(found[1])


def test_streams_are_spread_and_outlive_a_drain(cluster: Cluster, pcm: Array, text: str) -> None:
    """Eight at the pace of speech. Amid it the server of four is to stop, and ends with the last
    of them. It serves no test after this one."""
    spoken, moved = asyncio.Event(), asyncio.Event()
    begun = [0]

    async def talk() -> tuple[str, str]:
        async with cluster.client() as (client, name):
            half = len(pcm) // 2
            await speak(client, pcm[:half])
            begun[0] += 1
            if begun[0] == 8:
                spoken.set()
            await moved.wait()
            await speak(client, pcm[half:])
            return await words_to_the_end(client), name

    async def all_of_them() -> list[tuple[str, str]]:
        talking = [asyncio.create_task(talk()) for _ in range(8)]
        await spoken.wait()
        await asyncio.to_thread(drain, cluster.one)
        for _ in range(2):
            async with cluster.client() as (client, name):
                assert name == "two"
                await client.speak(silence(0.1))
        await until_here(lambda: not cluster.balancer.takes("one"))
        moved.set()
        return await asyncio.gather(*talking)

    found = asyncio.run(asyncio.wait_for(all_of_them(), SECONDS))
    assert {words for words, _ in found} == {text}
    assert sorted(name for _, name in found) == ["one"] * 4 + ["two"] * 4
    assert cluster.one.wait() == 0
    assert cluster.two.alive


def drain(server: ServedProcess) -> None:
    server.signal(signal.SIGTERM)
    until(lambda: "stopping" in server.log)
