"""Wyoming, on a port of its own: speech to text and text to speech for Home Assistant."""

import asyncio
import contextlib

from ...runtime.errors import KyutaiOnnxError
from ..engine.events import INTERNAL_ERROR, Busy
from ..web.async_session import SessionEnded
from ..web.auth import TooManySessions
from ..web.connections import LimitedConnection
from ..web.context import Context
from ..web.logs import LOG, log
from .handler import READ_BYTES, WyomingClient
from .messages import Error, Message, pack


class WyomingServer:
    """Belongs to the event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port."""
        opener = self._context.limiter.opener(self._protocol, http=False)
        self._server = await asyncio.get_running_loop().create_server(opener, host, port)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        """Lets nobody in any more, and ends what is left."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader(READ_BYTES)
        return asyncio.StreamReaderProtocol(reader, self._accept)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._clients.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("unknown",))[0])
        connection = LimitedConnection.of(writer.transport)
        if connection is None:
            return
        client = WyomingClient(self._context, connection, address, reader, writer)
        log("client came", protocol="wyoming", caller=address)
        try:
            await client.serve()
        except (ConnectionError, TimeoutError) as error:
            log("client gone", protocol="wyoming", why=str(error) or "sent nothing")
        except (KyutaiOnnxError, SessionEnded, TooManySessions) as error:
            code = "busy" if isinstance(error, Busy | TooManySessions) else None
            text = str(error) or "as many sessions of yours run as may"
            log("client refused", protocol="wyoming", why=text)
            await _tell(writer, Error(text, code))
        except Exception as error:
            LOG.error("request failed", exc_info=error)
            await _tell(writer, Error(INTERNAL_ERROR))
        finally:
            log("client left", protocol="wyoming", caller=address)


async def _tell(writer: asyncio.StreamWriter, message: Message) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(1):
            writer.write(pack(message))
            await writer.drain()
