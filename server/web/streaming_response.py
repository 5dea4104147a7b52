"""An answer whose body is sent piece by piece."""

from aiohttp import web


class StreamingResponse:
    """Start with the first piece: until then the request may still fail with a status."""

    def __init__(self, request: web.Request, content_type: str) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": content_type})

    @property
    def begun(self) -> bool:
        return self._response.prepared

    async def write(self, data: bytes) -> None:
        """Send a piece."""
        await self._begin()
        await self._response.write(data)

    async def finish(self, data: bytes = b"") -> web.StreamResponse:
        """Send the last piece, and return what the handler returns."""
        await self._begin()
        await self._response.write_eof(data)
        return self._response

    async def _begin(self) -> None:
        if not self.begun:
            await self._response.prepare(self._request)
