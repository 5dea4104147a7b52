"""Who is let in: keys, pages of other sites, rates, sessions, TLS; and that no path is
forgotten."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.request import HTTPSHandler, build_opener

import aiohttp
import pytest
from support.serving import (
    CHAT,
    LISTEN,
    REALTIME,
    SECONDS,
    SPEAK,
    STT,
    TTS,
    Running,
    ask,
    connected,
    get,
    running,
    tight,
)
from support.speech import hiss, wav_bytes
from support.waiting import until, until_here
from websockets.sync.client import connect

from kyutai_onnx.runtime.cache_folder import cache_folder
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.config import Tls
from kyutai_onnx.server.web.auth import (
    Keys,
    Origins,
    RateLimit,
    caller_of,
)
from kyutai_onnx.server.web.session_counts import SessionCounts, TooManySessions
from kyutai_onnx.server.web.tls import DAYS, TlsProtocol, self_signed, ssl_context

KEY, OTHER = "first-key", "second-key"
WAV = wav_bytes(hiss(0.2))

PUBLIC = (
    "/health",
    "/ready",
    "/metrics",
    "/api/build_info",
    "/api/modules_info",
    "/openapi.json",
    "/{name}",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, api_keys=(KEY, OTHER), cors=("https://friend.example",)) as found:
        yield found


async def socket_status(server: Running, path: str, **options: Any) -> int:
    """101, or the status by which a websocket was refused."""
    try:
        async with connected(server, path, **options):
            return 101
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status


HEADER, RIGHT, WRONG = "kyutai-api-key", {"kyutai-api-key": KEY}, {"kyutai-api-key": "no"}
BEARER = {"Authorization": f"Bearer {OTHER}"}


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        (RIGHT, "", 101),
        ({HEADER: OTHER}, "", 101),
        (WRONG, "", 401),
        ({}, f"auth_id={KEY}", 101),
        ({}, f"worker_auth_id={KEY}", 101),
        ({}, "auth_id=no", 401),
        (WRONG, f"auth_id={KEY}", 401),
        (RIGHT, "auth_id=no", 101),
        (BEARER, "", 101),
        ({"Authorization": "bearer  " + KEY}, "", 101),
        ({"Authorization": "Basic x"}, f"auth_id={KEY}", 401),
        ({HEADER: ""}, f"auth_id={KEY}", 401),
        ({HEADER: KEY[:-1]}, "", 401),
        ({HEADER: KEY + " "}, "", 101),
    ],
)
def test_keys_of_websockets(
    server: Running, headers: dict[str, str], query: str, status: int
) -> None:
    for path in (LISTEN, SPEAK):
        assert asyncio.run(socket_status(server, f"{path}?{query}", headers=headers)) == status


def test_a_key_of_a_post_is_in_its_header(server: Running) -> None:
    async def post(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        return (await ask(server, "POST", path, data=WAV, headers=headers))[:2]

    assert asyncio.run(post(LISTEN, RIGHT))[0] == 200
    assert asyncio.run(post(LISTEN, BEARER))[0] == 200
    assert asyncio.run(post(LISTEN, {})) == (401, b"")
    assert asyncio.run(post(f"{LISTEN}?auth_id={KEY}", {})) == (401, b"")
    assert asyncio.run(post(LISTEN, WRONG)) == (401, b"")


def test_every_path_but_the_public_ones_wants_a_key(server: Running) -> None:
    app = server.server._app
    assert app is not None
    asked = 0
    for route in app.router.routes():
        path = route.resource.canonical if route.resource else ""
        if path in PUBLIC or route.method == "HEAD":
            continue
        options: dict[str, Any] = {}
        if route.method == "GET" and path in (LISTEN, SPEAK, CHAT, REALTIME):
            status = asyncio.run(socket_status(server, path))
            status = 401 if path == CHAT and status == 404 else status  # no model for it here
        else:
            status, _, _ = asyncio.run(ask(server, route.method, path, **options))
        assert status == 401, (route.method, path)
        asked += 1
    assert asked >= 9
    for path in PUBLIC:
        assert asyncio.run(get(server, path.replace("{name}", "")))[0] in (200, 404)


def test_what_wants_no_websocket_gets_a_message_before_its_key(server: Running) -> None:
    status, _, headers = asyncio.run(get(server, LISTEN))
    assert (status, headers["Upgrade"]) == (426, "websocket")
    broken = {"Upgrade": "websocket", "Connection": "Upgrade", **RIGHT}
    assert asyncio.run(get(server, LISTEN, headers=broken))[0] == 400


def test_pages_of_other_sites_are_refused(server: Running) -> None:
    foreign = {"Origin": "https://evil.example", **RIGHT}
    own = {"Origin": server.url, **RIGHT}
    friend = {"Origin": "https://friend.example", **RIGHT}
    for headers, status in ((foreign, 403), (own, 200), (friend, 200)):
        found, _, answered = asyncio.run(get(server, "/v1/models", headers=headers))
        assert found == status
        allowed = answered.get("Access-Control-Allow-Origin")
        assert allowed == (headers["Origin"] if headers is friend else None)
    assert asyncio.run(socket_status(server, LISTEN, headers=foreign)) == 403
    assert asyncio.run(socket_status(server, LISTEN, headers=own)) == 101
    assert asyncio.run(socket_status(server, LISTEN, headers=friend)) == 101


def test_browsers_are_reported_what_named_sites_may(server: Running) -> None:
    headers = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    status, _, answered = asyncio.run(ask(server, "OPTIONS", LISTEN, headers=headers))
    assert status == 204
    allowed = answered["Access-Control-Allow-Headers"].split(", ")
    assert {"kyutai-api-key", "authorization", "*"} <= set(allowed)
    headers["Origin"] = "https://evil.example"
    assert asyncio.run(ask(server, "OPTIONS", LISTEN, headers=headers))[0] == 403


def test_a_server_without_keys_answers_to_its_own_names_alone() -> None:
    with running(STT) as server:
        port = server.server.port
        for host, status in (
            (f"localhost:{port}", 200),
            (f"127.0.0.1:{port}", 200),
            (f"[::1]:{port}", 200),
            ("evil.example", 403),
            (f"localhost.evil.example:{port}", 403),
            ("[", 403),
        ):
            found, _, _ = asyncio.run(get(server, "/v1/models", headers={"Host": host}))
            assert found == status, host


def test_origins_compare_the_port_too() -> None:
    origins = Origins((), local=True)
    host = {"Host": "localhost:8998"}
    assert origins.refuses(host | {"Origin": "http://localhost:8998"}) is None
    for origin in ("http://localhost:3000", "null", "http://[", "http://localhost"):
        assert origins.refuses(host | {"Origin": origin}) is not None
    assert Origins(("*",), local=True).refuses(host | {"Origin": "null"}) is None


def test_so_many_requests_a_minute() -> None:
    with running(STT, limits=tight(rate=3)) as server:
        statuses = [asyncio.run(get(server, "/v1/models"))[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert asyncio.run(socket_status(server, LISTEN)) == 429
        assert asyncio.run(get(server, "/health"))[0] == 200


def test_so_many_sessions_of_a_key() -> None:
    async def talk(server: Running) -> None:
        async with connected(server, LISTEN, headers=RIGHT) as one:
            await one.until("Ready")
            assert await socket_status(server, LISTEN, headers=RIGHT) == 429
            assert await socket_status(server, LISTEN, headers=BEARER) == 101
            status, _, headers = await ask(server, "POST", LISTEN, data=WAV, headers=RIGHT)
            assert (status, headers["Retry-After"]) == (429, "1")
        await until_here(lambda: server.used == [0])
        async with connected(server, LISTEN, headers=RIGHT) as again:
            await again.until("Ready")

    with running(STT, api_keys=(KEY, OTHER), limits=tight(sessions=1)) as server:
        asyncio.run(talk(server))


def test_a_rate_comes_back_with_time() -> None:
    now = 0.0
    rate = RateLimit(60, clock=lambda: now)
    assert [rate.admits("a") for _ in range(61)] == [True] * 60 + [False]
    assert rate.admits("b")
    now = 2.0
    assert [rate.admits("a") for _ in range(3)] == [True, True, False]
    assert RateLimit(None).admits("a")


def test_callers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kyutai_onnx.server.web.auth.MOST_CALLERS", 2)
    rate = RateLimit(1, clock=lambda: 0.0)
    assert [rate.admits(name) for name in "abca"] == [True] * 4
    assert not rate.admits("a")


def test_sessions_are_counted_off_whatever_happens() -> None:
    counts = SessionCounts(1)
    with pytest.raises(ZeroDivisionError), counts.session("a"):
        raise ZeroDivisionError
    with counts.session("a"), counts.session("b"), pytest.raises(TooManySessions):
        counts.session("a").__enter__()
    with counts.session("a"):
        pass


def test_no_key_is_kept_or_shown() -> None:
    keys = Keys((KEY,))
    kept = repr(vars(keys)) + caller_of(KEY, "1.2.3.4")
    assert KEY not in kept
    assert caller_of(None, "1.2.3.4") == "1.2.3.4"
    assert not keys.admits({})
    assert Keys(()).admits({})


def health_by_tls(server: Running, context: ssl.SSLContext | None = None) -> int:
    """The status, by a client that has closed its connection when this returns, which asyncio's
    have not."""
    handler = HTTPSHandler(context=context or ssl._create_unverified_context())
    with build_opener(handler).open(f"{server.url}/health", timeout=SECONDS) as answer:
        status: int = answer.status
    return status


def test_tls_by_a_certificate_of_its_own() -> None:
    with running(STT, tls=Tls(self_signed=True)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        certificate = ssl.get_server_certificate(("127.0.0.1", server.server.port))
        context = ssl.create_default_context(cadata=certificate)
        assert health_by_tls(server, context) == 200
        address = server.url.replace("https", "wss") + LISTEN
        with connect(address, ssl=context, open_timeout=SECONDS) as client:
            assert client.recv(SECONDS) == b"\x81\xa4type\xa5Ready"


def test_a_certificate_of_its_own_is_kept() -> None:
    tls = Tls(self_signed=True)
    _, first = ssl_context(tls, "kept.example")
    (path,) = (cache_folder() / "tls").glob("kept.example.pem")
    kept = path.read_bytes()
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ssl_context(tls, "kept.example") == (ANY, first)
    assert path.read_bytes() == kept
    assert ssl_context(tls, "other.example")[1] != first


@pytest.mark.parametrize("harm", ["cut off", "open to others", "another key", "soon over"])
def test_a_certificate_that_cannot_be_used_is_replaced(
    harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"{harm[:3]}.example".replace(" ", "")
    _, first = ssl_context(Tls(self_signed=True), host)
    path = cache_folder() / "tls" / f"{host}.pem"
    if harm == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    elif harm == "open to others":
        path.chmod(0o644)
    elif harm == "another key":
        other = self_signed(host)
        start = other.index(b"-----BEGIN CERTIFICATE")
        mine = path.read_bytes()
        path.write_bytes(mine[: mine.index(b"-----BEGIN CERTIFICATE")] + other[start:])
    else:
        monkeypatch.setattr("kyutai_onnx.server.web.tls.LEAST_DAYS", DAYS)
    assert ssl_context(Tls(self_signed=True), host)[1] != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_certificate_that_cannot_be_kept_is_made_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder")
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(folder))
    with caplog.at_level("INFO", "kyutai_onnx.server"):
        _, first = ssl_context(Tls(self_signed=True), "localhost")
    assert first
    assert "certificate not kept" in caplog.text


def test_servers_that_start_at_once_keep_one_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    host, shown = "twice.example", list[str | None]()

    def make(name: str) -> bytes:
        monkeypatch.setattr("kyutai_onnx.server.web.tls.self_signed", self_signed)
        shown.append(ssl_context(Tls(self_signed=True), name)[1])
        return self_signed(name)

    monkeypatch.setattr("kyutai_onnx.server.web.tls.self_signed", make)
    shown.append(ssl_context(Tls(self_signed=True), host)[1])
    shown.append(ssl_context(Tls(self_signed=True), host)[1])
    assert len(shown) == 3
    assert len(set(shown)) == 1


def test_a_key_that_is_not_kept_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path))
    (tmp_path / "tls" / "taken.example.pem").mkdir(parents=True)
    assert ssl_context(Tls(self_signed=True), "taken.example")[1]
    assert [path.name for path in (tmp_path / "tls").iterdir()] == ["taken.example.pem"]


def test_a_host_that_no_certificate_can_name() -> None:
    with pytest.raises(UsageError, match="--host"):
        ssl_context(Tls(self_signed=True), "m\u00fcller.example")


def plain(port: int, request: bytes) -> bytes:
    """Everything that a port answers to what is sent without TLS."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as raw:
        raw.sendall(request)
        found = b""
        while data := raw.recv(1 << 16):
            found += data
    return found


def test_a_request_without_tls_is_answered_that_it_needs_it() -> None:
    upload = b"POST /v1/audio/transcriptions HTTP/1.1\r\nContent-Length: 500000\r\n\r\n"
    with running(STT, tls=Tls(self_signed=True)) as server:
        port = server.server.port
        for request in (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", upload + bytes(500_000)):
            answer = plain(port, request)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"https://" in answer
        assert b"HTTP" not in plain(port, b"\x00\x01 no request")


def test_requests_without_tls_hold_no_place() -> None:
    with (
        running(STT, tls=Tls(self_signed=True), limits=tight(connections=4)) as server,
        contextlib.ExitStack() as stack,
    ):
        place = ("127.0.0.1", server.server.port)
        open_ones = [stack.enter_context(socket.create_connection(place)) for _ in range(40)]
        for raw in open_ones:
            with contextlib.suppress(ConnectionError):
                raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert health_by_tls(server) == 200


def test_a_client_without_tls_is_not_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kyutai_onnx.server.web.tls.PARTING_BYTES", 1 << 16)
    with (
        running(STT, tls=Tls(self_signed=True)) as server,
        socket.create_connection(("127.0.0.1", server.server.port), SECONDS) as raw,
        pytest.raises(ConnectionError),
    ):
        until(lambda: raw.sendall(b"GET " + bytes(1 << 16)) is not None)  # it raises


def test_handshakes_that_do_not_end_hold_no_place() -> None:
    """A newcomer takes the place of one; each keeps 16 KiB, not asyncio's 256."""

    assert TlsProtocol.max_size == 1 << 14
    with (
        running(STT, tls=Tls(self_signed=True), limits=tight(connections=4)) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(40):
            place = ("127.0.0.1", server.server.port)
            stack.enter_context(socket.create_connection(place)).sendall(b"\x16\x03")
        assert health_by_tls(server) == 200


def test_a_client_that_never_ends_tls_is_not_left_to_the_garbage_collector() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.ExitStack() as stack:
        with running(STT, tls=Tls(self_signed=True)) as server:
            place = ("127.0.0.1", server.server.port)
            raw = stack.enter_context(socket.create_connection(place, SECONDS))
            secured = stack.enter_context(context.wrap_socket(raw))
            secured.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secured.recv(1 << 16).startswith(b"HTTP/1.1 ")
        del server
        gc.collect()  # what it finds unclosed fails the test


def test_an_encrypted_key_is_refused_without_a_question(tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    pem = self_signed("example.org")
    key = serialization.load_pem_private_key(pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "key.pem").write_bytes(locked)
    (tmp_path / "cert.pem").write_bytes(pem)
    with pytest.raises(UsageError, match="encrypted"):
        ssl_context(Tls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")), "example.org")


def test_tls_by_files(tmp_path: Path) -> None:
    pem = self_signed("example.org").decode()
    middle = pem.index("-----BEGIN CERTIFICATE")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_text(pem[:middle])
    certificate.write_text(pem[middle:])
    context, shown = ssl_context(Tls(str(certificate), str(key)), "example.org")
    assert shown is None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(UsageError, match="cannot be used"):
        ssl_context(Tls(str(certificate), str(tmp_path / "none.pem")), "example.org")
    with pytest.raises(UsageError, match="cannot be used"):
        ssl_context(Tls(str(key), str(key)), "example.org")
