"""What a server answers while the models of a first use are downloaded and converted."""

from html import escape
from typing import Any

from aiohttp import web

from .middleware import INSTANCE, SAFE
from .pages import OURS
from .status import package_version

REFRESH_SECONDS = "2"
HEADERS = {**SAFE, "Retry-After": REFRESH_SECONDS, "Cache-Control": "no-store"}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="{seconds}">
<title>kyutai-onnx is preparing its models</title>
<h1>kyutai-onnx is preparing its models</h1>
<p>{doing} <progress {value}></progress></p>
<p>This page reloads itself, and opens when they are ready.</p>
</html>
"""


class Preparation:
    """How far the models are, and the application that answers it. `report` may be called by any
    thread."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._state = ("", 0, 0)

    def report(self, what: str, done: int, total: int) -> None:
        """Set what is done, how many bytes of it, and of how many (0 if that is not known)."""
        self._state = (what, done, total)

    def app(self) -> web.Application:
        """Make the application, on its event loop."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._refuse)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        report = {"status": "healthy", "version": package_version()}
        return web.json_response(report, headers=self._headers(SAFE))

    async def _refuse(self, request: web.Request) -> web.Response:
        """Refuse any request for now: browsers by a page, others by JSON like that of `/ready`."""
        what, done, total = self._state
        if "text/html" in request.headers.get("Accept", ""):
            value = f'value="{done}" max="{total}"' if total else ""
            text = PAGE.format(seconds=REFRESH_SECONDS, doing=escape(what), value=value)
            headers = self._headers(HEADERS | OURS)
            return web.Response(text=text, content_type="text/html", status=503, headers=headers)
        report: dict[str, Any] = {
            "status": "preparing",
            "instance": self._instance,
            "sessions": 0,
            "models": [],
            "doing": what,
            "bytes": done,
            "total": total,
        }
        return web.json_response(report, status=503, headers=self._headers(HEADERS))

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, INSTANCE: self._instance}
