"""`serve` as a process: what it says, how it ends, and what it refuses."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import Command, command_line

from kyutai_onnx.cli.serving import Flags, configured
from kyutai_onnx.models import Word
from kyutai_onnx.models.locate import DEMO, VARIABLE
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.config import ModelConfig, Tls

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[str], str]]:
    """A running server: its process, the lines it has said and its address."""
    command = command_line("serve", "--port", 0, *arguments)
    lines: list[str] = []
    listening = threading.Event()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:

        def read() -> None:
            assert p.stderr is not None
            for line in p.stderr:
                lines.append(line.rstrip("\n"))
                if " at http" in line:
                    listening.set()

        reading = threading.Thread(target=read)
        reading.start()
        try:
            assert listening.wait(60), lines
            found = re.search(r" at (https?://\S+)", "\n".join(lines))
            assert found is not None
            yield p, lines, found[1]
        finally:
            p.kill()
            p.wait()
            reading.join()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_demos_until_it_is_told_to_end(
    number: signal.Signals, speech: Path, words: list[Word]
) -> None:
    with serving("--wyoming-port", 0) as (process, lines, url):
        request = urllib.request.Request(f"{url}/api/asr-streaming", speech.read_bytes())
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        assert [m["text"] for m in told if m["type"] == "Word"] == [word.text for word in words]
        process.send_signal(number)
        assert process.wait(30) == 0
    said = "\n".join(lines)
    assert said.count("no --model given") == 3
    assert "serving stt-demo-en (4), tts-demo-en (4), hibiki-demo-fr-en (4)" in said
    assert "Wyoming at 127.0.0.1:" in said
    assert "Traceback" not in said


@posix
def test_clients_are_told_when_it_ends() -> None:
    with serving("--model", DEMO / "stt") as (process, _, url):
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.settimeout(30)
            raw.sendall(
                b"GET /api/asr-streaming HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            found = b""
            while b"Ready" not in found:
                found += raw.recv(1000)
            process.send_signal(signal.SIGINT)
            while data := raw.recv(1000):
                found += data
        assert b"the server is shutting down" in found
        assert process.wait(30) == 0


def test_quiet_servers_say_where_they_are_alone(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'json_logs = true\n[[models]]\nmodel = "{(DEMO / "tts").as_posix()}"\nname = "voice"\n'
    )
    with serving("--config", config, "--tls-self-signed") as (_, lines, url):
        assert url.startswith("https://127.0.0.1:")
        assert [line for line in lines if not line.startswith("{")] == [
            f"serving voice (4) at {url}"
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


def test_a_port_that_is_taken(command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("serve", "--port", port, "-q", "--model", DEMO / "stt")
    assert done.code == 1
    assert f"127.0.0.1:{port}: cannot listen" in done.error


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        'host = "0.0.0.0"\nport = 1\nslots = 7\napi_keys = ["a"]\n[[models]]\ntask="tts"\n'
    )
    keys = tmp_path / "keys"
    keys.write_text("b\nc\n")
    config, _ = configured(
        Flags(
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
    assert configured(Flags(file=file))[0].models == (ModelConfig(task="tts"),)


def test_the_environment_names_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "somewhere")
    assert configured(Flags())[0].models == (ModelConfig(model="somewhere"),)
    monkeypatch.delenv(VARIABLE)
    assert configured(Flags())[0].models == ()


def test_both_ways_of_tls(tmp_path: Path) -> None:
    both = Flags(certificate=(tmp_path, tmp_path), self_signed=True)
    with pytest.raises(UsageError, match="tls"):
        configured(both)
    assert configured(Flags(self_signed=True))[0].tls == Tls(self_signed=True)


def test_what_is_missing_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from kyutai_onnx.cli import serving as module

    monkeypatch.setattr(module, "NEEDED", ("aiohttp", "no_such_package"))
    done = command("serve")
    assert (done.code, "kyutai-onnx[serve]" in done.error) == (2, True)
