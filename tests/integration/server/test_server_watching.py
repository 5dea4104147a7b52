"""How a server is watched: health, metrics, what was built, and its log."""

import asyncio
import json
import logging
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client.parser import text_string_to_metric_families
from support.serving import (
    HIBIKI,
    LISTEN,
    SECONDS,
    STT,
    TTS,
    UPGRADE,
    Running,
    ask,
    connected,
    get,
    running,
    transcribed,
)
from support.speech import Array, hiss, wav_bytes
from support.waiting import until

from kyutai_onnx.server.web.logs import LOG, JsonFormatter, TextFormatter, log, open_log


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, HIBIKI, slots=3) as found:
        yield found


@pytest.fixture(autouse=True)
def _log_as_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`serve` may have run in this process before, and have opened its log."""
    monkeypatch.setattr(LOG, "propagate", True)
    level = LOG.level
    LOG.setLevel(logging.NOTSET)
    yield
    LOG.setLevel(level)


def metrics(server: Running) -> dict[tuple[str, str], float]:
    """Each value by its name and what its labels say."""
    return asyncio.run(metrics_of(server))


async def metrics_of(server: Running) -> dict[tuple[str, str], float]:
    _, body, headers = await get(server, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def metrics_with(server: Running, name: str, labels: str = "") -> dict[tuple[str, str], float]:
    """All of them once that one counts: a slot is free before its engine has noted why."""
    until(lambda: metrics(server).get((name, labels)))
    return metrics(server)


def test_metrics_by_the_names_of_moshi_server(server: Running, pcm: Array) -> None:
    before = metrics(server)
    reported = asyncio.run(transcribed(server, pcm))
    server.until_free()
    after = metrics_with(server, "asr_connection_num_steps_count")
    assert after["asr_connect", "all"] - before["asr_connect", "all"] == 1
    steps = sum(message["type"] == "Step" for message in reported)
    name = ("asr_model_step_duration_count", "")
    assert steps <= after[name] - before[name] <= steps + 30
    assert after["asr_model_step_duration_bucket", "+Inf"] == after[name]
    assert after["asr_open_channels", "all"] == 0
    for name_ in ("py_connect", "py_total_steps", "py_active_steps", "py_missing_words_steps"):
        assert (name_, "all") in after
    assert ("py_model_step_duration_bucket", "0.015") in after


def test_metrics_by_our_own(server: Running, pcm: Array) -> None:
    asyncio.run(transcribed(server, pcm))
    server.until_free()
    found = metrics_with(server, "kyutai_sessions_ended_total", "stt-demo-en,abandoned")
    assert found["kyutai_slots", "stt-demo-en"] == 3
    assert found["kyutai_real_time_factor", "stt-demo-en"] > 0
    assert found["kyutai_audio_seconds_total", "stt-demo-en"] > len(pcm) / 24000
    assert found["kyutai_step_seconds_count", "stt-demo-en"] > 0
    assert found["process_resident_memory_bytes", ""] > 1e6
    assert ("kyutai_queue_seconds_count", "tts-demo-en") in found


def test_slots_are_seen_while_they_are_in_use(server: Running) -> None:
    async def talk() -> None:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            _, body, _ = await get(server, "/api/modules_info")
            module = next(m for m in json.loads(body) if m["type"] == "batched_asr")
            assert module["used_slots"] == "1"
            _, body, _ = await get(server, "/ready")
            reported = json.loads(body)
            model = reported["models"][0]
            assert (model["used"], model["free"], model["slots"]) == (1, 2, 3)
            assert (reported["sessions"], reported["instance"]) == (1, socket.gethostname())

    asyncio.run(talk())
    server.until_free()


def test_a_server_that_stops_has_no_free_slots() -> None:
    async def talk(server: Running) -> tuple[float, ...]:
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            assert (await metrics_of(server))["kyutai_slots_free", "stt-demo-en"] == 2
            draining = asyncio.wrap_future(server.drain())
            await server.until_draining()
            found = await metrics_of(server)
            _, body, _ = await get(server, "/ready")
            assert json.loads(body)["models"][0]["free"] == 0
        assert await draining == 0
        names = ("kyutai_ready", "kyutai_sessions_running")
        return (found["kyutai_slots_free", "stt-demo-en"], *(found[name, ""] for name in names))

    with running(STT, slots=3, drain=float("inf")) as server:
        assert asyncio.run(talk(server)) == (0, 0, 1)


def test_a_server_says_which_it_is() -> None:
    async def talk(server: Running) -> None:
        for path in ("/health", "/no/such/page", "/v1/models"):
            assert (await get(server, path))[2]["Kyutai-Instance"] == "two"
        async with connected(server, LISTEN) as client:
            response = client.socket._response
            assert response.headers["Kyutai-Instance"] == "two"
        found = await metrics_of(server)
        assert any(name == "kyutai_server_info" and "two" in said for name, said in found)

    with running(STT, instance_name="two") as server:
        asyncio.run(talk(server))


def test_probes_need_no_host_and_no_place(server: Running) -> None:
    """As HAProxy asks over HTTP/1.0, and Kubernetes by the address of a pod."""
    for path in ("/health", "/ready", "/metrics"):
        for head in ("HTTP/1.0\r\n", "HTTP/1.1\r\nHost: 10.0.0.7:8998\r\nConnection: close\r\n"):
            with socket.create_connection(("127.0.0.1", server.server.port), SECONDS) as raw:
                raw.sendall(f"GET {path} {head}\r\n".encode())
                assert raw.recv(1 << 16).split()[1] == b"200"


def test_health(server: Running) -> None:
    status, body, _ = asyncio.run(get(server, "/health"))
    assert (status, json.loads(body)["status"]) == (200, "healthy")
    status, body, _ = asyncio.run(get(server, "/ready"))
    assert (status, json.loads(body)["status"]) == (200, "ready")


def test_what_was_built_in_ten_strings(server: Running) -> None:
    _, body, _ = asyncio.run(get(server, "/api/build_info"))
    reported = json.loads(body)
    assert len(reported) == 10
    assert all(isinstance(value, str) for value in reported.values())
    assert "kyutai-onnx" in reported["git_describe"]


def test_modules_in_strings(server: Running) -> None:
    _, body, _ = asyncio.run(get(server, "/api/modules_info"))
    asr, tts, lm = json.loads(body)
    assert asr == {
        "type": "batched_asr",
        "path": LISTEN,
        "lm": "stt-demo-en",
        "audio_tokenizer": "stt-demo-en",
        "used_slots": "0",
        "total_slots": "3",
    }
    assert set(tts) == {"type", "path", "script", "used_slots", "total_slots"}
    assert (tts["type"], lm["type"]) == ("py", "lm")


def test_a_server_that_stops_is_not_ready() -> None:
    with running(STT) as server:
        context_ready = asyncio.run(get(server, "/ready"))[0]
        server.stop()
        assert context_ready == 200
        with pytest.raises(OSError, match="Connect call failed"):
            asyncio.run(get(server, "/ready"))


def test_the_log_has_neither_keys_nor_what_is_said(
    caplog: pytest.LogCaptureFixture, pcm: Array
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "key-of-mine"
    with running(STT, TTS, api_keys=(key,)) as server:

        async def talk() -> None:
            headers = {"kyutai-api-key": key}
            async with connected(server, f"{LISTEN}?auth_id={key}", headers=headers) as client:
                await client.until("Ready")
                await client.speak(pcm)
                await client.until("Word")
            body = {"text": "butter", "voice": "a butter"}
            await ask(server, "POST", "/api/tts_streaming", json=body, headers=headers)
            await get(server, "/v1/models", headers={"Authorization": "Bearer wrong-key"})

        asyncio.run(talk())
        server.until_free()
    lines = "\n".join(TextFormatter().format(record) for record in caplog.records)
    lines += "\n".join(JsonFormatter("here").format(record) for record in caplog.records)
    assert "client came" in lines
    assert "key refused" in lines
    for secret in (key, "wrong-key", "butter", "alarm"):
        assert secret not in lines


@pytest.fixture
def opened_log(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Where the log goes as `serve` opens it, until the test ends."""
    loggers = [logging.getLogger(name) for name in (LOG.name, "aiohttp", "aiohttp.websocket")]
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    open_log(instance=None)
    yield capsys
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_key_in_the_name_of_a_protocol_is_not_logged(
    opened_log: pytest.CaptureFixture[str],
) -> None:
    headers = UPGRADE | {"Sec-WebSocket-Protocol": "openai-insecure-api-key.hidden"}

    async def come() -> None:
        request = make_mocked_request("GET", "/v1/realtime", headers=headers)
        assert web.WebSocketResponse(protocols=("realtime",)).can_prepare(request)

    asyncio.run(come())
    log("client came")
    logged = opened_log.readouterr().err
    assert "client came" in logged
    assert "hidden" not in logged


def test_lines_for_people_and_programs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kyutai_onnx.server")
    log("client left", path="/a b", seconds=1.23456, why="x\ny")
    (record,) = caplog.records
    assert TextFormatter().format(record).partition(" ")[2] == (
        'info client left path="/a b" seconds=1.235 why="x\\ny"'
    )
    reported = json.loads(JsonFormatter("here").format(record))
    assert {name: reported[name] for name in ("level", "event", "instance", "path", "why")} == {
        "level": "info",
        "event": "client left",
        "instance": "here",
        "path": "/a b",
        "why": "x\ny",
    }


def test_what_is_posted_counts_too(server: Running) -> None:
    before = metrics(server)["kyutai_sessions_total", "stt-demo-en"]
    asyncio.run(ask(server, "POST", LISTEN, data=wav_bytes(hiss(0.5))))
    assert metrics(server)["kyutai_sessions_total", "stt-demo-en"] == before + 1
