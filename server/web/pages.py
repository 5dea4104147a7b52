"""The files of a page: listed when the server starts, so that no request reaches beyond them."""

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from aiohttp import web

from ..config import NOTHING, PAGE
from .context import CONTEXT

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
OURS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Our own page has all that it needs; what a page of others needs is not known."""


class Pages:
    """The files that are shown: our own page's, a folder's or none."""

    def __init__(self, static: str) -> None:
        self._headers: Mapping[str, str] = OURS if static == PAGE else {}
        root: Traversable = files(__package__.rpartition(".")[0]) / PAGE
        if static not in (PAGE, NOTHING):
            root = Path(static)
        shown = static != NOTHING and root.is_dir()
        self._files = dict(_listed(root, "")) if shown else {}

    async def show(self, request: web.Request) -> web.Response:
        """A file, or the index of a folder; raises HTTPNotFound."""
        name = request.match_info["name"]
        found = self._files.get(name) or self._files.get(f"{name.rstrip('/')}/{INDEX}".lstrip("/"))
        if found is None:
            raise web.HTTPNotFound(text="there is no such page\n")
        body = await request.app[CONTEXT].work(found.read_bytes)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {
            "Content-Type": _type_of(found.name),
            "Cache-Control": "no-cache",
            "ETag": tag,
            **self._headers,
        }
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)


def _listed(folder: Traversable, place: str) -> Iterator[tuple[str, Traversable]]:
    """Every file of a folder with its path in it; links lead nowhere, hidden ones stay so."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") or (isinstance(entry, Path) and entry.is_symlink()):
            continue
        if entry.is_dir():
            yield from _listed(entry, f"{place}{entry.name}/")
        else:
            yield f"{place}{entry.name}", entry


def _type_of(name: str) -> str:
    known = TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"
