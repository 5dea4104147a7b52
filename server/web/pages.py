"""The files of the page: read at the start, so that no request reaches the file system."""

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from aiohttp import web

from ...runtime.errors import UsageError
from ..config import NOTHING, PAGE

INDEX = "index.html"
MOST_BYTES = 256 << 20
"""Bytes of all files together."""
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
"""Headers of our own page. What the pages of others need is unknown."""


@dataclass(frozen=True)
class Page:
    """A file with the headers of its answer."""

    content: bytes
    tag: str
    headers: Mapping[str, str]


class Pages:
    """The files to show: those of our own page, of a folder, or none. Raises UsageError for a
    folder that is too large or cannot be read."""

    def __init__(self, static: str) -> None:
        ours = OURS if static == PAGE else {}
        root: Traversable = files(__package__.rpartition(".")[0]) / PAGE
        if static not in (PAGE, NOTHING):
            root = Path(static)
        shown = static != NOTHING and root.is_dir()
        self._pages: dict[str, Page] = {}
        left = MOST_BYTES
        for name, file in _listed(root, "") if shown else ():
            self._pages[name] = page = _read(file, ours)
            left -= len(page.content)
            if left < 0:
                raise UsageError(
                    f"static {static}: more than {MOST_BYTES >> 20} MiB; give a smaller folder"
                )

    async def show(self, request: web.Request) -> web.Response:
        """Return a file, or the index of a folder; raises HTTPNotFound."""
        name = request.match_info["name"]
        found = self._pages.get(name) or self._pages.get(f"{name.rstrip('/')}/{INDEX}".lstrip("/"))
        if found is None:
            raise web.HTTPNotFound(text="not found\n")
        if request.headers.get("If-None-Match") == found.tag:
            return web.Response(status=304, headers=found.headers)
        return web.Response(body=found.content, headers=found.headers)


def _read(file: Traversable, more: Mapping[str, str]) -> Page:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"static {file.name}: cannot be read ({error.strerror}); check its permissions"
        ) from None
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    kind = {"Content-Type": _type_of(file.name), "Cache-Control": "no-cache", "ETag": tag}
    return Page(content, tag, {**kind, **more})


def _listed(folder: Traversable, place: str) -> Iterator[tuple[str, Traversable]]:
    """Yield every file of a folder with its path in it; links are not followed, and hidden files
    are left out."""
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
