"""A server for tests of the web page alone: it transcribes with the embedded demo, says a tone,
answers a talk with what it received, and errs when asked to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from aiohttp import WSMsgType, web
from support.paths import ROOT

from kyutai_onnx.models import Pause, SpeechToText, Word
from kyutai_onnx.models.families import FAMILIES
from kyutai_onnx.models.options import TurnPolicy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = ROOT / "server" / "page"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'"
FRAME, RATE, TONE = 1920, 24000, 440.0
DELAY = 7
"""Frames from a word's sound to the word, in the demo."""


@dataclass
class PageServer:
    """What it has, how it errs, and what it was sent."""

    model: SpeechToText | None = None
    families: tuple[str, ...] = ("stt", "tts", "hibiki")
    key: str | None = None
    full: bool = False
    heads: bool = True
    garbled: bool = False
    drop_after: int | None = None
    """Frames, after which the next sessions are cut off."""
    drops: int = 1
    """How many sessions are cut off."""
    end_after: int | None = None
    """Messages, after which a talk is ended."""
    asked: list[dict[str, str]] = field(default_factory=list)
    captured: list[np.ndarray[Any, Any]] = field(default_factory=list)
    talked: bytearray = field(default_factory=bytearray)
    said: list[str] = field(default_factory=list)
    address: str = ""

    def app(self) -> web.Application:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(("/api/", "/v1/")):
                return await handler(request)
            if self.key not in (None, request.query.get("auth_id")):
                return web.Response(status=401)
            self.asked.append({"path": request.path, **request.query})
            return await handler(request)

        app = web.Application(middlewares=[guard])
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/api/voices", self._voices)
        app.router.add_get("/api/asr-streaming", self._listen)
        app.router.add_get("/api/tts_streaming", self._speak)
        app.router.add_get("/api/chat", self._chat)
        app.router.add_get("/{file:.*}", self._file)
        return app

    async def _file(self, request: web.Request) -> web.FileResponse:
        path = PAGE / (request.match_info["file"] or "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Security-Policy": POLICY})

    async def _models(self, _: web.Request) -> web.Response:
        data = list[dict[str, object]]()
        for place, name in enumerate(self.families):
            number, family = self.families[:place].count(name) + 1, FAMILIES[name]
            able = {"task": family.task, "has_tail": family.has_tail, "path": family.socket}
            able |= {"languages": ["en"], "demo": family.demo.knows or None}
            model = f"{name}-demo" if number == 1 else f"{name}-demo-{number}"
            data.append({"id": model, "object": "model", **able})
        return web.json_response({"object": "list", "data": data})

    async def _voices(self, _: web.Request) -> web.Response:
        names = ("plain", "tales/calm.wav", "tales/merry.wav")
        voices = [{"name": name} for name in names]
        return web.json_response({"voices": voices, "default": "tales/calm.wav"})

    async def _open(self, request: web.Request) -> web.WebSocketResponse | None:
        """A socket, or none where the server is full."""
        socket = web.WebSocketResponse(max_msg_size=2**24)
        await socket.prepare(request)
        if not self.full:
            return socket
        await socket.send_bytes(pack("Error", message="no free channels"))
        await socket.close()
        return None

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = await self._open(request)
        if socket is None:
            return web.WebSocketResponse()
        await socket.send_bytes(pack("Ready"))
        assert self.model is not None
        stream = self.model.stream(policy=TurnPolicy())
        drop_after = self.drop_after if self.drops > 0 else None
        self.drops -= 1
        frames, due = 0, list[tuple[int, int]]()
        async for message in socket:
            said = msgpack.unpackb(message.data)
            if said["type"] == "Marker":
                due.append((frames + DELAY, said["id"]))
                continue
            pcm = np.array(said["pcm"], np.float32)
            self.captured.append(pcm)
            frames += 1
            if frames == drop_after:
                assert request.transport is not None
                request.transport.abort()
                break
            events = await asyncio.to_thread(stream.feed, pcm)
            pausing = any(isinstance(event, Pause) for event in events)
            if self.heads:
                await socket.send_bytes(pack("Step", step_idx=frames, prs=[float(pausing)] * 4))
            for word in (event for event in events if isinstance(event, Word)):
                await socket.send_bytes(pack("Word", text=word.text, start_time=word.start))
                await socket.send_bytes(pack("EndWord", stop_time=word.end))
            while due and due[0][0] <= frames:
                await socket.send_bytes(pack("Marker", id=due.pop(0)[1]))
        return socket

    async def _speak(self, request: web.Request) -> web.WebSocketResponse:
        socket = await self._open(request)
        if socket is None:
            return web.WebSocketResponse()
        await socket.send_bytes(b"\xc1" if self.garbled else pack("Ready"))
        words = list[str]()
        async for message in socket:
            said = msgpack.unpackb(message.data)
            if said["type"] == "Eos":
                break
            self.said.append(said["text"])
            words += said["text"].split()
        for number, word in enumerate(words):
            start = 4 * number * FRAME
            times = {"start_s": start / RATE, "stop_s": (start + 4 * FRAME) / RATE}
            await socket.send_bytes(pack("Text", text=word, **times))
            for frame in tone(start, 4 * FRAME).reshape(4, FRAME):
                await socket.send_bytes(pack("Audio", pcm=frame.tolist()))
        await socket.close()
        return socket

    async def _chat(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.full:
            await socket.send_bytes(b"\x05no free channels")
            await socket.close()
            return socket
        await socket.send_bytes(b"\x00")
        count = 0
        async for message in socket:
            assert message.type == WSMsgType.BINARY
            assert message.data[0] == 1
            self.talked += message.data[1:]
            await socket.send_bytes(message.data)
            count += 1
            if count == self.end_after:
                await socket.close()
            if count % 25 == 0 and count <= 10 * 25:
                await socket.send_bytes(b"\x02 " + f"back{count // 25}".encode())
        return socket


def pack(kind: str, **fields: Any) -> bytes:
    return bytes(msgpack.packb({"type": kind, **fields}, use_single_float=True))


def tone(start: int, count: int) -> np.ndarray[Any, Any]:
    """Samples float32 `[count]` of a tone that goes on."""
    times = np.arange(start, start + count) / RATE
    return (0.3 * np.sin(2 * np.pi * TONE * times)).astype(np.float32)


@asynccontextmanager
async def serving(server: PageServer) -> AsyncIterator[PageServer]:
    """Serves on a free port of this machine while the block runs."""
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.address = f"http://{host}:{port}/"
        yield server
    finally:
        await runner.cleanup()
