"""An answer whose body comes piece by piece."""

from aiohttp import web


class StreamingResponse:
    """Begins with its first piece: until then the request may still fail by a status."""

    def __init__(self, request: web.Request, content_type: str) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": content_type})

    @property
    def begun(self) -> bool:
        return self._response.prepared

    async def write(self, data: bytes) -> None:
        """Sends a piece."""
        await self._begin()
        await self._response.write(data)

    async def finish(self, data: bytes = b"") -> web.StreamResponse:
        """Sends the last piece, and is what the handler returns."""
        await self._begin()
        await self._response.write_eof(data)
        return self._response

    async def _begin(self) -> None:
        if not self.begun:
            await self._response.prepare(self._request)
