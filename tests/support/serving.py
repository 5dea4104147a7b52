"""Servers on loopback, each with an event loop in a thread of its own, and clients for them."""

import asyncio
import concurrent.futures
import dataclasses
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import msgpack
import numpy as np
from support.waiting import until, until_async, until_here

from kyutai_onnx.server.config import ModelConfig, ServerConfig
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.registry import load_models
from kyutai_onnx.server.server import Server
from kyutai_onnx.server.web.context import CONTEXT

Array = np.ndarray[Any, Any]
Message = dict[str, Any]

STT, TTS, HIBIKI = (ModelConfig(task=task) for task in ("stt", "tts", "hibiki"))
LISTEN, SPEAK, CHAT = "/api/asr-streaming", "/api/tts_streaming", "/api/chat"
REALTIME = "/v1/realtime"
FRAME, RATE = 1920, 24000
SECONDS = 120.0
"""After which a test gives up."""
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""Headers of a request for a websocket."""


class Running:
    """A server that listens."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self._loop = server, loop
        self._urged = asyncio.Event()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def used(self) -> list[int]:
        """Slots in use, of each model."""
        return [served.engine.used for served in self.server.registry.all]

    @property
    def sessions(self) -> int:
        """Sessions of clients, those without a slot included."""
        app = self.server._app
        return 0 if app is None else app[CONTEXT].sessions.running

    async def until_draining(self) -> None:
        """Waits until it refuses new sessions."""

        async def is_draining() -> bool:
            return (await get(self, "/ready"))[0] == 503

        await until_async(is_draining)

    def until_free(self) -> None:
        """Waits until no slot is in use."""
        until(lambda: not any(self.used))

    async def until_queued(self) -> None:
        """Waits until somebody waits for a slot."""
        await until_here(lambda: any(served.engine.queued for served in self.server.registry.all))

    def until_opened(self, count: int = 1) -> None:
        """Waits until the first model has had so many sessions, those that ended included."""
        until(lambda: self.server.registry.all[0].engine.statistics.opened >= count)

    @contextmanager
    def standstill(self, seconds: float) -> Iterator[None]:
        """The event loop does nothing while the block runs, and finds that so much time passed."""
        still, over = threading.Event(), threading.Event()
        clock = self._loop.time

        def stand() -> None:
            still.set()
            over.wait(SECONDS)
            self._loop.time = lambda: clock() + seconds  # type: ignore[method-assign]

        self._loop.call_soon_threadsafe(stand)
        still.wait(SECONDS)
        yield
        over.set()

    def drain(self) -> "concurrent.futures.Future[int]":
        """Starts what a signal to stop starts; the result is how many sessions were left."""
        return asyncio.run_coroutine_threadsafe(self.server.drain(self._urged), self._loop)

    def urge(self) -> None:
        """What a second signal does."""
        self._loop.call_soon_threadsafe(self._urged.set)

    def stop(self) -> None:
        """Ends all sessions, and the server."""
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(SECONDS)


@contextmanager
def running(*models: ModelConfig, limits: Limits | None = None, **config: Any) -> Iterator[Running]:
    """A server of some models, on a port that is free; it gives sessions no time to end."""
    given: dict[str, Any] = {"drain": 0.0, **config}
    settings = ServerConfig(models=models or (STT,), port=0, limits=limits or Limits(), **given)
    settings.check()
    registry = load_models(settings, lambda _: None)
    server = Server(settings)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(registry), loop).result(SECONDS)
        yield Running(server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def tight(**limits: Any) -> Limits:
    """Limits of which some are changed."""
    return dataclasses.replace(Limits(), **limits)


CLOSED_IN_PEACE = (0, "")
"""By a frame without a code, as moshi-server does."""


class Client:
    """One websocket, whose messages are maps of msgpack."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.ended: tuple[int | None, str] | None = None
        """The code and reason of the frame that closed it, no code being 0; None without one."""

    async def send(self, **message: Any) -> None:
        await self.socket.send_bytes(packed(**message))

    async def speak(self, pcm: Array, step: int = FRAME) -> None:
        """Sends audio, so many samples a message."""
        for start in range(0, len(pcm), step):
            await self.send(type="Audio", pcm=pcm[start : start + step].tolist())

    async def next(self) -> Message | None:
        """The next message; None at the end."""
        data = await self.next_bytes()
        return None if data is None else msgpack.unpackb(data)

    async def next_bytes(self) -> bytes | None:
        received = await self.socket.receive(timeout=SECONDS)
        if received.type is aiohttp.WSMsgType.BINARY:
            data: bytes = received.data
            return data
        if received.type is aiohttp.WSMsgType.CLOSE:
            self.ended = received.data, received.extra or ""
        return None

    async def until(self, kind: str) -> list[Message]:
        """All messages up to one of this kind, which must come."""
        found: list[Message] = []
        while not found or found[-1]["type"] != kind:
            message = await self.next()
            assert message is not None, found[-3:]
            found.append(message)
        return found

    async def rest(self) -> list[Message]:
        """All that come until the server closes."""
        found: list[Message] = []
        while (message := await self.next()) is not None:
            found.append(message)
        return found


def packed(**message: Any) -> bytes:
    """As Kyutai's clients write messages."""
    data: bytes = msgpack.packb(message, use_bin_type=True, use_single_float=True)
    return data


@asynccontextmanager
async def connected(server: Running, path: str, **options: Any) -> AsyncIterator[Client]:
    """A client of one of the server's websockets."""
    async with (
        asyncio.timeout(2 * SECONDS),
        http() as session,
        session.ws_connect(server.url + path, max_msg_size=0, **options) as socket,
    ):
        yield Client(socket)


@asynccontextmanager
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose connections are closed when it is left."""
    try:
        async with aiohttp.ClientSession() as session:
            yield session
    finally:
        await asyncio.sleep(0)


async def transcribed(server: Running, pcm: Array, *, before: float = 0.0) -> list[Message]:
    """All messages for a client of speech to text that sends a recording and waits for the marker
    behind it, as Kyutai's scripts do."""
    async with connected(server, LISTEN) as client:
        assert (await client.next() or {})["type"] == "Ready"
        await client.speak(silence(before))
        await client.speak(pcm)
        await client.speak(silence(1.0))
        await client.send(type="Marker", id=7)
        await client.speak(silence(2.0))
        return await client.until("Marker")


def silence(seconds: float) -> Array:
    return np.zeros(round(seconds * RATE), np.float32)


def words_of(messages: list[Message]) -> str:
    return " ".join(m["text"] for m in messages if m["type"] == "Word" and m["text"])


async def get(server: Running, path: str, **options: Any) -> tuple[int, bytes, Mapping[str, str]]:
    """Status, body and headers of an answer."""
    return await ask(server, "GET", path, **options)


async def ask(
    server: Running, method: str, path: str, **options: Any
) -> tuple[int, bytes, Mapping[str, str]]:
    async with (
        asyncio.timeout(SECONDS),
        http() as session,
        session.request(method, server.url + path, **options) as answer,
    ):
        return answer.status, await answer.read(), answer.headers.copy()


def upgrade(path: str, port: int) -> socket.socket:
    """A websocket without a library behind it, nothing read but the head of the answer."""
    raw = socket.create_connection(("127.0.0.1", port))
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    raw.sendall(head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = raw.recv(1)
        assert more, answer
        answer += more
    assert b" 101 " in answer
    return raw


def frame(data: bytes, kind: int = 0x82) -> bytes:
    """A masked frame, as a client sends it."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([kind]) + size + bytes(4) + data
