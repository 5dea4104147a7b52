"""A websocket to a server, for a caller that is not asynchronous."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType

from ..wire.messagepack import MAX_BYTES
from .address import Address
from .background import Background
from .errors import ServerError, broken, distrusted, refused, unreachable

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""A server pings every ten; for so long without any sign it is given up."""
PEACEFUL = (0, 1000, 1005)
"""Codes of a frame that closes: moshi-server gives none."""
DATA = (WSMsgType.BINARY, WSMsgType.TEXT)


@dataclass
class _Item:
    data: bytes
    due: float | None


class Line:
    """Open once it is made. Its methods belong to one thread; `news`, which may be shared by
    several lines, is notified whenever there is something to take, or room to send.

    Raises ServerError where it cannot be opened.
    """

    def __init__(
        self,
        background: Background,
        address: Address,
        path: str,
        query: Mapping[str, str],
        news: threading.Condition | None = None,
    ) -> None:
        self._background, self._address = background, address
        self.news = news or threading.Condition()
        self._told: list[bytes] = []
        self._unsent = 0
        self._over = False
        self._failure: ServerError | None = None
        self._outbox: asyncio.Queue[_Item] = asyncio.Queue()
        background.call(self._open(path, query))

    def send(self, data: bytes, due: float | None = None) -> None:
        """Sends it when all before it is sent, not before the monotonic clock shows `due`."""
        with self.news:
            self._unsent += 1
        self._background.loop.call_soon_threadsafe(self._outbox.put_nowait, _Item(data, due))

    @property
    def unsent(self) -> int:
        """Messages that wait to be sent."""
        return 0 if self._over else self._unsent

    @property
    def over(self) -> bool:
        """Whether the server has closed, or was lost."""
        return self._over

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or nothing more will be."""
        return bool(self._told) or self._over

    def take(self) -> list[bytes]:
        """What the server has told since the last time."""
        with self.news:
            told, self._told = self._told, []
        return told

    def check(self) -> None:
        """Raises ServerError where the server was lost, or closed and said why."""
        if self._failure is not None:
            raise self._failure

    def wait(self, seconds: float = 1.0) -> None:
        """Until there is news."""
        with self.news:
            self.news.wait_for(lambda: self.has_news, seconds)

    def close(self) -> None:
        """Leaves, whatever is left."""
        with contextlib.suppress(RuntimeError):
            self._background.call(self._leave())

    async def _open(self, path: str, query: Mapping[str, str]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(headers=self._address.headers, timeout=timeout)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._socket = await self._session.ws_connect(
                    self._address.url + path,
                    params=dict(query),
                    max_msg_size=MAX_BYTES,
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                )
        except BaseException as error:
            await self._session.close()
            if failure := failure_of(self._address, error):
                raise failure from None
            raise
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._deliver())]

    async def _receive(self) -> None:
        failure = None
        try:
            while (message := await self._next()).type in DATA:
                if message.type is WSMsgType.BINARY:
                    with self.news:
                        self._told.append(message.data)
                        self.news.notify_all()
            failure = self._how_it_closed(message)
        except TimeoutError:
            failure = broken(self._address, f"nothing came for {SILENCE_SECONDS:.0f} s")
        except Exception as error:
            failure = broken(self._address, str(error) or type(error).__name__)
            raise
        finally:
            with self.news:
                self._over, self._failure = True, failure
                self.news.notify_all()
            await self._session.close()

    async def _next(self) -> aiohttp.WSMessage:
        """The next message that is no sign of life; a ping is answered, without waiting until the
        server reads the answer."""
        while True:
            message = await self._socket.receive(timeout=SILENCE_SECONDS)
            if message.type is WSMsgType.PING:
                self._pong = asyncio.create_task(self._answer(message.data))
            elif message.type is not WSMsgType.PONG:
                return message

    async def _answer(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._socket.pong(data)

    def _how_it_closed(self, message: aiohttp.WSMessage) -> ServerError | None:
        if message.type is not WSMsgType.CLOSE:
            return broken(self._address, "the connection was lost")
        if message.data in PEACEFUL:
            return None
        return broken(self._address, message.extra or f"code {message.data}")

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                item = await self._outbox.get()
                if item.due is not None:
                    await asyncio.sleep(item.due - loop.time())
                await self._socket.send_bytes(item.data)
                with self.news:
                    self._unsent -= 1
                    self.news.notify_all()

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with self.news:
            self._over = True
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._socket.close()
        await self._session.close()


def failure_of(address: Address, error: BaseException) -> ServerError | None:
    """The one line for what stood in the way of a request; None for what nobody foresaw."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return refused(address, error.status, error.message)
    if isinstance(error, aiohttp.ClientSSLError):
        return distrusted(address, error.__cause__ or "TLS failed")
    if isinstance(error, aiohttp.ClientConnectorError):
        return unreachable(address, _reason(error.os_error))
    if isinstance(error, TimeoutError):
        return unreachable(address, f"no answer for {CONNECT_SECONDS:.0f} s")
    if isinstance(error, aiohttp.ClientError | OSError):
        return unreachable(address, str(error) or type(error).__name__)
    return None


def _reason(error: OSError) -> str:
    """Why a connection could not be made; asyncio's own words name the address again."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
