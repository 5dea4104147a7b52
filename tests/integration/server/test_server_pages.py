"""The page that is shown at `/`: ours, a folder's, or none."""

import asyncio
from pathlib import Path

import pytest
from support.serving import STT, get, running

from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.web.pages import OURS, Pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page, with what must not be shown beside it."""
    shown = tmp_path / "dist"
    (shown / "assets").mkdir(parents=True)
    (shown / "index.html").write_text("<p>hello", "utf-8")
    (shown / "assets" / "index.html").write_text("inner", "utf-8")
    (shown / "assets" / "work.wasm").write_bytes(b"\0asm")
    (shown / "assets" / "a.js").write_text("1", "utf-8")
    (shown / ".secret").write_text("secret", "utf-8")
    (tmp_path / "outside").write_text("secret", "utf-8")
    (shown / "link").symlink_to(tmp_path / "outside")
    return shown


def test_a_folder_is_shown_and_nothing_else(folder: Path) -> None:
    with running(STT, static=str(folder)) as server:
        for path, body, kind in (
            ("/", b"<p>hello", "text/html; charset=utf-8"),
            ("/index.html", b"<p>hello", "text/html; charset=utf-8"),
            ("/assets/", b"inner", "text/html; charset=utf-8"),
            ("/assets/work.wasm", b"\0asm", "application/wasm"),
            ("/assets/a.js", b"1", "text/javascript; charset=utf-8"),
        ):
            status, found, headers = asyncio.run(get(server, path))
            assert (status, found, headers["Content-Type"]) == (200, body, kind)
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "Content-Security-Policy" not in headers
        for path in (
            "/.secret",
            "/link",
            "/../outside",
            "/assets/../../outside",
            "/%2e%2e/outside",
        ):
            status, found, _ = asyncio.run(get(server, path))
            assert status == 404, path
            assert b"secret" not in found
        (folder / "later.html").write_text("later", "utf-8")
        assert asyncio.run(get(server, "/later.html"))[0] == 404


def test_what_has_not_changed_is_not_sent_again(folder: Path) -> None:
    with running(STT, static=str(folder)) as server:
        tag = asyncio.run(get(server, "/"))[2]["ETag"]
        status, body, _ = asyncio.run(get(server, "/", headers={"If-None-Match": tag}))
        assert (status, body) == (304, b"")
        assert asyncio.run(get(server, "/", headers={"If-None-Match": '"other"'}))[0] == 200


def test_pages_are_read_when_the_server_starts(folder: Path) -> None:
    with running(STT, static=str(folder)) as server:
        (folder / "index.html").unlink()
        assert asyncio.run(get(server, "/"))[1] == b"<p>hello"


def test_a_folder_that_is_too_large_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kyutai_onnx.server.web.pages.MOST_BYTES", 5)
    with pytest.raises(UsageError, match="static"):
        Pages(str(folder))


def test_none_is_shown() -> None:
    with running(STT, static="none") as server:
        assert asyncio.run(get(server, "/"))[0] == 404


def test_our_own_page_loads_nothing_from_elsewhere() -> None:
    with running(STT) as server:
        status, body, headers = asyncio.run(get(server, "/"))
        if status == 404:
            pytest.skip("the page is not there")
        assert b"<html" in body
        assert {name: headers[name] for name in OURS} == OURS
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "http" not in policy
