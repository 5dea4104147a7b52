"""Connections that ask, take or send nothing, or next to nothing: they end, and hold no place."""

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.raw_websocket import PING, TEXT, RawWebsocket, frame, head
from support.serving import (
    LISTEN,
    STT,
    TTS,
    Running,
    connected,
    get,
    running,
    silence,
    tight,
    words_of,
)
from support.siege import everything
from support.speech import Array
from support.waiting import until

from benchmarks.served import served_process
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.web.auth import WrongKeys
from kyutai_onnx.server.web.connections import (
    FIRST_SLICE,
    LEAST_CONNECTIONS,
    LEAST_SLICE,
    SLICE,
    TURN_SECONDS,
    ConnectionLimiter,
    LimitedConnection,
    affordable_connections,
    logging_exhaustion,
)
from kyutai_onnx.server.web.context import Context
from kyutai_onnx.server.web.websocket_session import MESSAGES_SECONDS

PAGE = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECONDS = 120.0


def connect(port: int, *, size: int | None = None) -> socket.socket:
    client = socket.socket()
    if size is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    client.settimeout(SECONDS)
    client.connect(("127.0.0.1", port))
    return client


def send_until_cut_off(client: socket.socket, data: bytes) -> None:
    """Sends for as long as it is taken, which must end."""
    with contextlib.suppress(ConnectionError):
        while True:
            client.sendall(data)


def test_a_client_that_takes_no_pages_is_cut_off() -> None:
    with running(STT, limits=tight(stall=0.5)) as server, connect(server.server.port) as client:
        send_until_cut_off(client, PAGE * 100)


def test_a_client_that_takes_no_speech_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """The connection, and not only its session."""
    body = b'{"response_format": "pcm", "input": "' + b"seven " * 9000 + b'"}'
    request = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    with (
        running(TTS, limits=tight(stall=0.5)) as server,
        connect(server.server.port, size=4096) as client,
    ):
        client.sendall(request % (len(body), body))
        client.recv(1)
        server.until_opened()
        server.until_free()
        client.settimeout(None)
        until(lambda: reset(client))
    assert not any(record.exc_info for record in caplog.records)


def reset(client: socket.socket) -> bool:
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_a_head_that_dribbles_is_cut_off() -> None:
    with running(STT, limits=tight(request=0.5)) as server, connect(server.server.port) as client:
        send_slowly(client, b"GET / HTTP/1.1\r\nX: " + b"a" * 8000)
        with connect(server.server.port) as silent:
            assert everything(silent) == b""


def send_slowly(client: socket.socket, data: bytes) -> None:
    """A byte now and then, which must be taken no longer before all is sent."""
    wait, sent = threading.Event(), 0
    with contextlib.suppress(OSError):
        for byte in data:
            client.sendall(bytes([byte]))
            wait.wait(0.005)
            sent += 1
    assert sent < len(data)


def test_a_full_server_takes_newcomers_for_those_that_idle() -> None:
    with (
        running(STT, limits=tight(connections=6)) as server,
        contextlib.ExitStack() as stack,
    ):
        port = server.server.port
        for _ in range(10):
            hoarder = stack.enter_context(connect(port))
            hoarder.sendall(PAGE * 2000)
        for path in ("/health", "/ready", "/metrics", "/"):
            assert asyncio.run(get(server, path))[0] == 200


def test_a_server_full_of_sessions_says_how_it_is_and_nothing_else() -> None:
    async def talk(server: Running) -> None:
        async with connected(server, LISTEN) as one, connected(server, LISTEN) as two:
            await one.until("Ready")
            await two.until("Ready")
            for path, status in (("/health", 200), ("/ready", 200), ("/metrics", 200), ("/", 503)):
                found, _, headers = await get(server, path)
                assert (found, headers["Connection"]) == (status, "close")
            flood = [connect(server.server.port) for _ in range(40)]
            answers = [await asyncio.to_thread(everything, client) for client in flood]
            for client in flood:
                client.close()
            assert answers.count(b"") < len(answers)
            assert all(answer == b"" or b" 503 " in answer for answer in answers)
            assert (await get(server, "/health"))[0] == 200

    with running(STT, slots=2, limits=tight(connections=2)) as server:
        asyncio.run(talk(server))


@pytest.mark.parametrize(
    "host", [b"1.0\r\n", b"1.0\r\nHost: x\r\n", b"1.1\r\nHost: 10.0.0.7\r\n", b"1.1\r\nHost: [\r\n"]
)
def test_probes_are_answered_under_any_name(host: bytes) -> None:
    """Without a `Host` too, which HTTP/1.1 demands."""
    with running(STT) as server:
        for path in (b"/health", b"/ready", b"/metrics"):
            with connect(server.server.port) as client:
                client.sendall(b"GET %b HTTP/%b\r\n" % (path, host))
                assert b" 200 " in everything(client)[:20]
        with connect(server.server.port) as client:
            client.sendall(b"GET / HTTP/%b\r\n" % host)
            assert b" 403 " in everything(client)[:20]


def test_wrong_keys_are_limited() -> None:
    async def statuses(server: Running, *keys: str) -> list[int]:
        tries = [{"kyutai-api-key": key} for key in keys]
        return [(await get(server, "/v1/models", headers=shown))[0] for shown in tries]

    with running(STT, api_keys=("used", "unused"), limits=tight(wrong_keys=3)) as server:
        assert asyncio.run(statuses(server, "used")) == [200]
        assert asyncio.run(statuses(server, *"abcde")) == [401, 401, 401, 429, 429]
        assert asyncio.run(statuses(server, "unused", "used")) == [429, 200]
        assert asyncio.run(get(server, "/v1/models"))[0] == 401


def test_wrong_keys_are_counted_by_address() -> None:
    now = 0.0
    keys = WrongKeys(1, clock=lambda: now)
    assert keys.admits("a", "x", right=False)
    assert not keys.admits("a", "x", right=False)
    assert not keys.admits("a", "y", right=True)
    assert keys.admits("b", "y", right=True)
    now = 61.0
    assert keys.admits("a", "y", right=True)
    assert all(WrongKeys(None).admits("a", "x", right=False) for _ in range(100))


FLOODS: dict[str, Callable[[], bytes]] = {
    "empty pings": lambda: frame(b"", PING) * 50_000,
    "empty texts": lambda: frame(b"", TEXT) * 50_000,
    "a message of fragments": lambda: b"\x02\x80\0\0\0\0" + b"\0\x81\0\0\0\0a" * 50_000,
    "compressed": lambda: b"\xc2\x80\0\0\0\0",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_websockets_that_flood_stop_nobody(
    pcm: Array, text: str, flood: Callable[[], bytes]
) -> None:
    async def talk(server: Running) -> str:
        data, ends = flood(), threading.Event()

        def attack() -> None:
            with contextlib.suppress(OSError), RawWebsocket(server.server.port) as raw:
                raw.socket.settimeout(0.1)
                while not ends.is_set():
                    with contextlib.suppress(TimeoutError):
                        raw.socket.sendall(data)

        attacking = asyncio.create_task(asyncio.to_thread(attack))
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            await client.speak(pcm)
            await client.speak(silence(3.0))
            await client.send(type="Marker", id=1)
            await client.speak(silence(1.0))
            found = words_of(await client.until("Marker"))
        ends.set()
        await attacking
        return found

    with running(STT, limits=tight(stall=1.0)) as server:
        assert asyncio.run(talk(server)) == text
        server.until_free()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each turn of the event loop that requests and clients have waited for."""
    found: list[None] = []
    take = Context.take_turn

    async def counted(context: Context) -> None:
        found.append(None)
        await take(context)

    monkeypatch.setattr(Context, "take_turn", counted)
    return found


@pytest.mark.parametrize(
    "message",
    [frame(b"", PING), frame(b"\x82\xa4type\xa6Marker\xa2id\x01")],
    ids=["pings", "markers"],
)
def test_messages_wait_for_their_turn(turns: list[None], message: bytes) -> None:
    """A client has 16 of them, received or sent, in one turn of the event loop, and the next after
    10 ms at the earliest."""
    with running(STT) as server, RawWebsocket(server.server.port) as client:
        assert client.reported()["type"] == "Ready"
        started = time.monotonic()
        client.write(message * 320)
        client.say(type="Eos")
        client.end()
        assert time.monotonic() - started >= (320 // 16 - 2) * MESSAGES_SECONDS
        assert len(turns) >= 320 // 16


def test_events_of_wyoming_wait_for_their_turn(turns: list[None]) -> None:
    with running(STT, wyoming_port=0) as server:
        port = server.server.wyoming_port
        assert port is not None
        with connect(port) as client, client.makefile("rb") as answers:
            client.sendall(b'{"type": "ping"}\n' * 320)
            assert all(b"pong" in answers.readline() for _ in range(320))
            assert len(turns) >= 320 // 16


def test_a_connection_that_is_dear_to_parse_is_read_in_smaller_slices() -> None:
    async def test() -> list[int]:
        connection = LimitedConnection(asyncio.Protocol(), ConnectionLimiter(Limits(), 1), Limits())
        sizes = [len(connection.get_buffer(-1))]
        for seconds in (0.01,) * 8 + (0.0001,) * 8:
            connection.fit_slice(sizes[-1], seconds)
            sizes.append(len(connection.get_buffer(-1)))
        return sizes

    sizes = asyncio.run(test())
    assert sizes[0] == FIRST_SLICE
    assert max(sizes) == sizes[-1] == SLICE
    assert min(sizes) == LEAST_SLICE


def test_a_crowd_that_is_dear_to_parse_shares_a_turn_of_the_event_loop() -> None:
    async def test() -> list[int]:
        limiter = ConnectionLimiter(Limits(), 2)
        one, other = (LimitedConnection(asyncio.Protocol(), limiter, Limits()) for _ in range(2))
        limiter.spend(2 * TURN_SECONDS)
        sizes = [len(one.get_buffer(-1)), len(other.get_buffer(-1))]
        await asyncio.sleep(0)
        return [*sizes, len(one.get_buffer(-1))]

    assert asyncio.run(test()) == [LEAST_SLICE, LEAST_SLICE, FIRST_SLICE]


def test_a_message_of_a_websocket_that_dribbles_ends_its_session() -> None:
    with (
        running(STT, limits=tight(silence=0.5)) as server,
        RawWebsocket(server.server.port) as client,
    ):
        client.reported()
        send_slowly(client.socket, head(1 << 20) + bytes(8000))
        server.until_free()


def test_what_comes_while_the_server_stands_still_is_no_silence() -> None:
    with (
        running(STT, limits=tight(silence=60.0, idle=1e6)) as server,
        RawWebsocket(server.server.port) as client,
    ):
        client.reported()
        with server.standstill(3600.0):
            client.say(type="Marker", id=7)
        client.say(type="Audio", pcm=silence(2).tolist())
        assert client.receive_frame()[0] == PING  # it got nothing for an hour
        while client.reported() != {"type": "Marker", "id": 7}:
            pass


def test_an_event_of_wyoming_that_dribbles_ends_its_connection() -> None:
    with running(STT, wyoming_port=0, limits=tight(silence=0.5)) as server:
        port = server.server.wyoming_port
        assert port is not None
        with connect(port) as client:
            client.sendall(b'{"type": "ping"}\n')
            with client.makefile("rb") as answers:
                assert b"pong" in answers.readline()
            send_slowly(client, b'{"type": "' + b"a" * 8000)


def test_connections_of_wyoming_count_among_all() -> None:
    with running(STT, wyoming_port=0, limits=tight(connections=4)) as server:
        port = server.server.wyoming_port
        assert port is not None
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(port)) for _ in range(6)]
            for client in clients[:2]:
                assert everything(client) == b""
            clients[-1].sendall(b'{"type": "ping"}\n')
            with clients[-1].makefile("rb") as answers:
                assert b"pong" in answers.readline()
            assert asyncio.run(get(server, "/health"))[0] == 200


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may open 128 files, and no more."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)


@pytest.mark.usefixtures("few")
def test_connections_are_no_more_than_there_are_descriptors_for() -> None:
    assert LEAST_CONNECTIONS <= affordable_connections(200) < 64
    assert affordable_connections(LEAST_CONNECTIONS) == LEAST_CONNECTIONS


def test_there_are_descriptors_for_the_usual_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert affordable_connections(8) == 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_other_errors_of_the_event_loop_are_logged_as_ever() -> None:
    found = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: found.append(context))
    with logging_exhaustion(loop):
        loop.call_exception_handler({"message": "m", "exception": OSError(24, "x"), "socket": 1})
        loop.call_exception_handler({"message": "other", "exception": ValueError()})
    assert [context["message"] for context in found] == ["other"]
    loop.close()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone limits other processes")
def test_a_server_without_descriptors_says_so_once_and_recovers(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text('[[models]]\ntask = "stt"\n', "utf-8")
    with served_process("--config", config) as server:
        limit = server.open_files + 20
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        flood = [connect(server.port) for _ in range(60)]
        until(lambda: "no more file descriptors" in server.log)
        for client in flood:
            client.close()
        assert server.get("/health")
        assert server.log.count("no more file descriptors") == 1
        assert "Traceback" not in server.log
