"""`serve` as a process: what it says, how it ends, and what it refuses."""

import importlib.util
import json
import signal
import socket
import ssl
import sys
import urllib.request
from pathlib import Path

import pytest
from support.commands import Command
from support.waiting import PATIENCE_SECONDS

from benchmarks.served import served_process
from kyutai_onnx.cli.commands.serve import ServerFlags, configured
from kyutai_onnx.models import Word
from kyutai_onnx.models.resolve import DEMO, VARIABLE
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.config import ModelConfig, ServerConfig, Tls
from kyutai_onnx.server.server import Server
from kyutai_onnx.server.web.tls import fingerprint

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
SIGNALS = [
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@posix
@pytest.mark.parametrize("number", SIGNALS)
def test_it_serves_the_demos_until_it_is_stopped(
    number: signal.Signals, speech: Path, words: list[Word]
) -> None:
    with served_process("--wyoming-port", 0) as server:
        request = urllib.request.Request(f"{server.url}/api/asr-streaming", speech.read_bytes())
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            reported = json.load(answer)
        assert [m["text"] for m in reported if m["type"] == "Word"] == [word.text for word in words]
        server.signal(number)
        assert server.wait() == 0
        said = server.log
    assert said.count("no --model given") == 3
    assert "serving stt-demo-en (4), tts-demo-en (4), hibiki-demo-fr-en (4)" in said
    assert "Wyoming at 127.0.0.1:" in said
    assert "Traceback" not in said


def test_quiet_servers_say_where_they_are_alone(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'json_logs = true\n[[models]]\nmodel = "{(DEMO / "tts").as_posix()}"\nname = "voice"\n'
    )
    with served_process("--config", config, "--tls-self-signed") as server:
        assert server.url.startswith("https://127.0.0.1:")
        said = [line for line in server.log.splitlines() if not line.startswith("{")]
        certificate = ssl.get_server_certificate(("127.0.0.1", server.port))
    assert said == [
        f"for clients: --tls-fingerprint {fingerprint(ssl.PEM_cert_to_DER_cert(certificate))}",
        f"serving voice (4) at {server.url}",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "--api-key"),
        (("--model", "nowhere"), 3, "nowhere"),
        (("--model", DEMO / "stt", "--model", DEMO / "stt"), 2, "two models"),
        (("--config", "nowhere.toml"), 2, "nowhere.toml"),
        (("--static", "/no/such/folder"), 2, "/no/such/folder"),
        (("--tls", "a.pem", "b.pem"), 2, "a.pem"),
        (("--provider", "abacus"), 2, "abacus"),
        (("--host", "no.such.host.invalid", "--no-auth"), 2, "no.such.host.invalid"),
    ],
)
def test_what_cannot_be_served(
    command: Command, arguments: tuple[object, ...], code: int, said: str
) -> None:
    done = command("serve", "--port", 0, "-q", *arguments)
    assert done.code == code
    assert said in done.error


@pytest.mark.parametrize("flag", ["--port", "--wyoming-port"])
def test_a_port_that_is_taken_is_found_before_a_model_is_loaded(
    command: Command, flag: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("serve", "--port", 0, "-q", flag, port, "--model", "nowhere")
    assert done.code == 1
    assert f"127.0.0.1:{port}" in done.error
    assert f"'{flag}'" in done.error


@posix
def test_a_port_that_needs_privileges_is_found_before_a_model_is_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("kyutai_onnx.server.server.bound_sockets", refuse)
    done = command("serve", "--port", 80, "-q", "--model", "nowhere")
    assert done.code == 1
    assert "127.0.0.1:80" in done.error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tls", "a.pem", "b.pem"),
        ("--api-key", "@a.pem"),
        ("--config", "a.pem"),
        ("--static", "a.pem"),
        ("--provider", "a.pem"),
    ],
)
def test_settings_are_checked_before_a_model_is_loaded(
    command: Command, arguments: tuple[str, ...]
) -> None:
    done = command("serve", "--port", 0, "-q", *arguments, "--model", "nowhere")
    assert done.code == 2
    assert "a.pem" in done.error


def test_a_port_answers_nobody_until_the_models_are_loaded() -> None:
    with (
        Server(ServerConfig(port=0)) as server,
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        pass


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        'host = "0.0.0.0"\nport = 1\nslots = 7\napi_keys = ["a"]\n[[models]]\ntask="tts"\n'
    )
    keys = tmp_path / "keys"
    keys.write_text("b\nc\n")
    config, _ = configured(
        ServerFlags(
            file=file,
            models=("x",),
            api_keys=(f"@{keys}",),
            certificate=(Path("c"), Path("k")),
            given={"port": 2, "static": "none"},
        )
    )
    assert (config.host, config.port, config.slots, config.static) == ("0.0.0.0", 2, 7, "none")
    assert (config.api_keys, config.tls) == (("b", "c"), Tls("c", "k"))
    assert config.models == (ModelConfig(model="x"),)
    assert configured(ServerFlags(file=file))[0].models == (ModelConfig(task="tts"),)


def test_the_environment_names_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "somewhere")
    assert configured(ServerFlags())[0].models == (ModelConfig(model="somewhere"),)
    monkeypatch.delenv(VARIABLE)
    assert configured(ServerFlags())[0].models == ()


def test_both_ways_of_tls(tmp_path: Path) -> None:
    both = ServerFlags(certificate=(tmp_path, tmp_path), self_signed=True)
    with pytest.raises(UsageError, match="tls"):
        configured(both)
    assert configured(ServerFlags(self_signed=True))[0].tls == Tls(self_signed=True)


def test_what_is_missing_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else name)
    done = command("serve")
    assert (done.code, "kyutai-onnx[serve]" in done.error) == (2, True)
