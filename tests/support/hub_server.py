"""A Hub on this machine: repositories that are folders, over HTTP as the Hub's client asks."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1 << 16
MISSING, GATED, NO_FILE = "RepoNotFound", "GatedRepo", "EntryNotFound"


@dataclass(eq=False)
class HubServer:
    """Serves `folder/owner/name/file`.

    A commit writes into these folders, and is refused if its parent is not the last one. `gated`
    are repositories that need a login. Of a file in `cut`, by repository and name, nothing is sent
    from that byte on; the last byte of one in `damaged` is another one. A GET of a file in `held`
    that goes on after that byte waits until `release` is set. `sent` has, for each GET, the
    repository, the file, the first byte and the number of bytes. If `overtaken`, another commit
    comes before each upload.
    """

    folder: Path
    gated: set[str] = field(default_factory=set)
    cut: dict[tuple[str, str], int] = field(default_factory=dict)
    damaged: set[tuple[str, str]] = field(default_factory=set)
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    sent: list[tuple[str, str, int, int]] = field(default_factory=list)
    url: str = ""
    commits: int = 0
    overtaken: bool = False

    def __post_init__(self) -> None:
        self.release, self.holding = threading.Event(), threading.Event()

    @cache  # noqa: B019
    def hash_of(self, path: Path) -> str:
        """The SHA-256 of a file, as the Hub reports it."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def commit(self) -> str:
        """The hash of the last commit, of all repositories."""
        return f"{int(COMMIT, 16) + self.commits:040x}"

    def bytes_of(self, name: str) -> int:
        """How many bytes of the files of that name were sent."""
        return sum(count for _, file, _, count in self.sent if file == name)

    def environment(self, home: Path) -> dict[str, str]:
        """What a process is given to use this Hub, with caches below `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "KYUTAI_ONNX_CACHE": str(home / "cache"),
            "no_proxy": "127.0.0.1",
        }


@contextmanager
def hub_server(folder: Path) -> Iterator[HubServer]:
    """Serve until the block ends."""
    hub = HubServer(folder)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        path, content = self.path.partition("?")[0].strip("/"), self._received()
        repo, _, verb = path.removeprefix("api/models/").rpartition("/")[0].rpartition("/")
        if path == "api/repos/create":
            asked = json.loads(content)
            made = f"{asked['organization']}/{asked['name']}"
            (self.served.folder / made).mkdir(parents=True)
            self._plain(200, json.dumps({"url": f"{self.served.url}/{made}"}).encode())
        elif verb == "preupload":
            self.served.commits += self.served.overtaken
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]
            self._plain(200, json.dumps({"files": files}).encode())
        elif verb == "commit":
            self._commit(repo, [json.loads(line) for line in content.splitlines()])
        else:
            self._plain(200, b'{"errors": [], "warnings": []}')

    def _received(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        header, *changes = lines
        if header["value"].get("parentCommit") not in (None, self.served.commit):
            self._plain(412, b'{"error": "the parent is not the last commit"}')
            return
        for change in changes:
            file = self.served.folder / repo / change["value"]["path"]
            if change["key"] == "deletedFile":
                file.unlink()
                continue
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(base64.b64decode(change["value"]["content"]))
        self.served.commits += 1
        self.served.hash_of.cache_clear()
        url = f"{self.served.url}/{repo}/commit/{self.served.commit}"
        made = {"commitUrl": url, "commitOid": self.served.commit}
        self._plain(200, json.dumps(made).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0]).strip("/")
        repo, found, rest = path.removeprefix("api/models/").partition("/resolve/")
        if path.startswith("api/models/"):
            repo, tree, _ = path.removeprefix("api/models/").partition("/tree/")
            self._list(repo.partition("/revision/")[0], as_tree=bool(tree))
        elif not found:
            self._plain(200, b"")
        else:
            self._file(repo, rest.partition("/")[2], body=body)

    def _list(self, repo: str, *, as_tree: bool) -> None:
        folder = self.served.folder / repo
        if not folder.is_dir():
            self._plain(404, b"", MISSING)
            return
        names = {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        tree = [
            {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
            for name, file in names.items()
        ]
        files = [{"rfilename": name} for name in names]
        listing = {"id": repo, "sha": self.served.commit, "siblings": files}
        self._plain(200, json.dumps(tree if as_tree else listing).encode())

    def _file(self, repo: str, name: str, *, body: bool) -> None:
        folder = self.served.folder / repo
        if not folder.is_dir():
            self._plain(404, b"", MISSING)
        elif repo in self.served.gated:
            self._plain(403, b"", GATED)
        elif not (folder / name).is_file():
            self._plain(404, b"", NO_FILE)
        else:
            self._send(repo, name, folder / name, body=body)

    def _plain(self, status: int, content: bytes, code: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", self.served.commit)
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send(self, repo: str, name: str, path: Path, *, body: bool) -> None:
        size = path.stat().st_size
        first, last = 0, size - 1
        given = self.headers.get("Range")
        if given:
            start, _, stop = given.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if given else 200)
        if given:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.served.hash_of(path)}"')
        self.send_header("X-Repo-Commit", self.served.commit)
        self.end_headers()
        if body:
            self._write(repo, name, path, first, last + 1)

    def _write(self, repo: str, name: str, path: Path, first: int, stop: int) -> None:
        hub, whole, position = self.served, stop, first
        stop = max(first, min(stop, hub.cut.get((repo, name), stop)))
        if whole > hub.held.get((repo, name), whole):
            hub.holding.set()
            hub.release.wait()
        with path.open("rb") as file:
            file.seek(first)
            try:
                while position < stop:
                    content = file.read(min(PIECE, stop - position))
                    if (repo, name) in hub.damaged and not file.peek(1):
                        content = content[:-1] + bytes([content[-1] ^ 1])
                    position += self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass
        hub.sent.append((repo, name, first, position - first))
        if position < whole:
            self.close_connection = True
