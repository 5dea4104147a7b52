"""A websocket as moshi-server keeps one: pings, timeouts, and closing with or without a code."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiohttp import WSCloseCode, WSMsgType, web

from ..config import Bounds

PING_SECONDS = 10.0
CLOSE_SECONDS = 2.0
LONGEST_REASON = 120
"""Bytes of what a close frame says."""
MESSAGES_AT_ONCE, MESSAGES_SECONDS = 16, 0.01
"""Messages of a client that are received or sent in one turn of the event loop, and the least time
until the next: a client that sends more is read more slowly."""
DATA = (WSMsgType.BINARY, WSMsgType.TEXT)


class Gone(Exception):  # noqa: N818
    """The client is not there any more, or takes nothing."""


class Socket:
    """One client's. A message of it has at most `message` bytes; `take_turn` waits until it is this
    client's turn among all."""

    def __init__(
        self, limits: Bounds, message: int, take_turn: Callable[[], Awaitable[None]]
    ) -> None:
        self._ws = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=message,
        )
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._request: web.Request | None = None
        self._pings: asyncio.Task[None] | None = None
        self._sent = 0.0
        self._take_turn = take_turn
        self._handled, self._next_turn = 0, 0.0
        self.on_quiet: bytes | None = None
        """What is sent, besides a ping, to a client that got nothing for a while."""

    async def open(self, request: web.Request) -> None:
        """Accepts the client."""
        self._request = request
        await self._ws.prepare(request)
        self._sent = self._loop.time()
        self._pings = asyncio.create_task(self._ping())

    @property
    def response(self) -> web.WebSocketResponse:
        """What the handler of the request returns."""
        return self._ws

    async def receive(self, is_busy: Callable[[], bool]) -> bytes | str | None:
        """The next message; None once the client has left, or is silent without `is_busy` being
        the reason."""
        while True:
            await self._handle_one()
            try:
                message = await self._ws.receive(timeout=self._limits.silence)
            except TimeoutError:
                if is_busy():
                    continue
                self.drop()
                return None
            if message.type in DATA:
                data: bytes | str = message.data
                return data
            if message.type is WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is not WSMsgType.PONG:
                return None

    async def _handle_one(self) -> None:
        """Waits for a turn after some messages: those that have come, or can be written, wait for
        nothing else."""
        self._handled += 1
        if self._handled > MESSAGES_AT_ONCE:
            if (early := self._next_turn - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._take_turn()
            self._handled, self._next_turn = 1, self._loop.time() + MESSAGES_SECONDS

    async def _pong(self, data: bytes) -> None:
        """Answers, unless nothing is taken for too long."""
        try:
            async with asyncio.timeout(self._limits.stall):
                await self._ws.pong(data)
        except TimeoutError:
            self.drop()
        except ConnectionError:
            pass

    async def send(self, data: bytes) -> None:
        """Raises Gone where the client has left, or takes nothing for too long."""
        await self._handle_one()
        self._sent = self._loop.time()
        try:
            async with asyncio.timeout(self._limits.stall):
                await self._ws.send_bytes(data)
        except TimeoutError:
            self.drop()
            raise Gone("takes nothing") from None
        except ConnectionError:
            raise Gone("left") from None

    async def finish(self, code: int | None = None, reason: str = "") -> None:
        """Closes: with a frame that has no code, as moshi-server does when all is well, or with one
        and why. Nobody else may be receiving."""
        self._stop()
        said = reason.encode()[:LONGEST_REASON].decode(errors="ignore").encode()
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            if code is not None:
                await self._ws.close(code=code, message=said)
                return
            await self._ws.send_frame(b"", WSMsgType.CLOSE)
            async with asyncio.timeout(CLOSE_SECONDS):
                while (await self._ws.receive()).type in (*DATA, WSMsgType.PING, WSMsgType.PONG):
                    pass
        self._hang_up()

    async def agree(self) -> None:
        """Closes since the client did."""
        self._stop()
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            await self._ws.close(code=WSCloseCode.OK, drain=False)

    def drop(self) -> None:
        """Lets go of the client without a word."""
        self._stop()
        transport = self._request.transport if self._request is not None else None
        if transport is not None:
            transport.abort()

    def _stop(self) -> None:
        if self._pings is not None:
            self._pings.cancel()

    def _hang_up(self) -> None:
        transport = self._request.transport if self._request is not None else None
        if transport is not None:
            transport.close()

    async def _ping(self) -> None:
        """As long as the client is there, whenever it got nothing for a while."""
        with contextlib.suppress(ConnectionError):
            while True:
                quiet = self._loop.time() - self._sent
                if quiet < PING_SECONDS:
                    await asyncio.sleep(PING_SECONDS - quiet)
                    continue
                self._sent = self._loop.time()
                await self._ws.ping()
                if self.on_quiet is not None:
                    await self._ws.send_bytes(self.on_quiet)
