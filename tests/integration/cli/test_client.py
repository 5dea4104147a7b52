"""`--server`: the commands with a model of a server instead of one that is here."""

import importlib.util
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import Command, run_here
from support.serving import HIBIKI, STT, TTS, Running, running, tight
from support.speech import Array, hiss, say_aloud, write_wav
from support.waiting import PATIENCE_SECONDS, until
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as websocket_server

from kyutai_onnx.cli.load import connect
from kyutai_onnx.cli.options import ServerOptions
from kyutai_onnx.models import Word
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.client import RemoteServer, ServerError
from kyutai_onnx.server.client.connection import Connection, parse_address
from kyutai_onnx.server.config import Tls

SAMPLES = [DEMO / "samples" / name for name in ("alarm.wav", "shopping.flac", "train.flac")]
SENTENCE = "set an alarm at six twenty"

CONFIDENCE = re.compile(r',\s*"confidence": [\d.]+')


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, HIBIKI, slots=2) as found:
        yield found


def both(command: Command, server: Running, *arguments: object) -> tuple[str, str]:
    """What a command writes with a model that is here, and with the server's, whose messages have
    no confidence of words."""
    here = command(*arguments, "-q")
    there = command(*arguments, "-q", "--server", server.url)
    assert (here.code, there.code, there.err) == (0, 0, "")
    assert "confidence" not in there.out
    return CONFIDENCE.sub("", here.out), there.out


@pytest.mark.parametrize("kind", ["text", "json", "srt", "tsv"])
def test_a_server_transcribes_as_it_is_done_here(
    command: Command, server: Running, kind: str
) -> None:
    for sample in SAMPLES:
        here, there = both(command, server, "transcribe", sample, "--vad", "-f", kind)
        assert there == here


def test_a_prompt_goes_to_the_server(command: Command, server: Running) -> None:
    here, there = both(command, server, "transcribe", SAMPLES[0], "--prompt-text", "two")
    assert there == here
    assert here.startswith("two")
    arguments = ("transcribe", SAMPLES[0], "-q", "--prompt-text", "\u2603")
    done = command(*arguments, "--server", server.url)
    assert done.code != 0
    assert "prompt" in done.error


def test_more_files_than_slots_are_transcribed(command: Command, server: Running) -> None:
    files = [*SAMPLES, SAMPLES[0].parent / "alarm.wav", SAMPLES[1]]
    here, there = both(command, server, "transcribe", *files, "-f", "jsonl")
    assert there == here
    assert len(there.splitlines()) == len(files)


def test_a_file_is_paced(command: Command, server: Running, speech: Path) -> None:
    started = time.monotonic()
    done = command("transcribe", speech, "--rtf", "4", "--server", server.url, "-q")
    assert done.code == 0
    assert time.monotonic() - started >= soundfile.info(speech).duration / 4
    assert done.out == command("transcribe", speech, "-q").out


def test_live_words_are_those_that_are_found_here(command: Command, server: Running) -> None:
    stream = ("stream", "--input-file", SAMPLES[0], "--rate", "20", "-f", "jsonl")
    here, there = both(command, server, *stream)
    kinds = {"word", "pause"}
    assert of_kinds(there, kinds) == of_kinds(here, kinds)
    assert len(of_kinds(there, kinds)) > 5


def of_kinds(lines: str, kinds: set[str]) -> list[dict[str, object]]:
    found = [json.loads(line) for line in lines.splitlines()]
    return sorted((one for one in found if one["type"] in kinds), key=str)


def test_a_server_says_what_is_said_here(command: Command, server: Running, tmp_path: Path) -> None:
    made = []
    for name, extra in (("here", ()), ("there", ("--server", server.url))):
        out, words = tmp_path / f"{name}.wav", tmp_path / f"{name}.json"
        given = ("--seed", "5", "--padding-bonus", "0.5", "--words", words)
        done = command("say", f'{SENTENCE} <break time="0.4s"/> today', "-o", out, *given, *extra)
        assert done.code == 0
        content = json.loads(words.read_text())
        made.append((soundfile.read(out)[0], content["words"], content["text"]))
    (here, *reported_here), (there, *reported_there) = made
    assert reported_there == reported_here
    assert np.abs(here.clip(-0.99, 0.99) - there).max() < 1e-3


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_text_comes_in_pieces_of_any_size(server: Running, cut: int) -> None:
    text = f'{SENTENCE} <break time="0.4s"/> today'
    with RemoteServer(server.url) as there:
        stream = there.text_to_speech().stream(temperature=0.0)
        for start in range(0, len(text), cut):
            stream.add(text[start : start + cut])
        stream.end()
        words = [event.text for event in stream.events() if hasattr(event, "text")]
        stream.close()
    assert words == [*SENTENCE.split(), "today"]


def test_a_server_translates(command: Command, server: Running, tmp_path: Path) -> None:
    french = say_aloud(tmp_path / "fr.wav", "trois mille deux cent quarante-cinq", "fr")
    out = tmp_path / "en.wav"
    arguments = ("--rate", "20", "--save-output", out, "--model", "hibiki-demo-fr-en", "-q")
    done = command("stream", "--input-file", french, *arguments, "--server", server.url)
    assert (done.code, done.err) == (0, "")
    here = command("translate", french, tmp_path / "here.wav", "-q")
    assert done.out == here.out
    assert abs(soundfile.info(out).duration - soundfile.info(tmp_path / "here.wav").duration) < 0.5
    assert np.abs(soundfile.read(out)[0]).max() > 0.05


def test_standard_input_is_said_while_it_comes(server: Running) -> None:
    with RemoteServer(server.url) as there:
        stream = there.text_to_speech().stream(temperature=0.0)
        stream.add("one two three four five six seven ")
        until(stream.events)
        stream.close()
    server.until_free()


def test_who_has_no_key_is_reported(command: Command, speech: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sesame\n")
    with running(STT, api_keys=("sesame",)) as locked:
        transcribe = ("transcribe", speech, "-q", "--server", locked.url)
        assert command(*transcribe, "--api-key", f"@{keys}").code == 0
        for given, way in (((), "give '--api-key KEY'"), (("--api-key", "no"), "check")):
            done = command(*transcribe, *given)
            assert (done.code, done.out) == (1, "")
            assert "right key" in done.error
            assert way in done.error


def test_who_finds_no_room_is_reported(command: Command, speech: Path) -> None:
    with running(STT, slots=1, limits=tight(queue=0)) as small, RemoteServer(small.url) as there:
        stream = there.speech_to_text().stream()
        stream.feed(hiss(0.5))
        until(lambda: any(small.used))
        done = command("transcribe", speech, "--server", small.url)
        assert done.code == 1
        assert "busy (no free channels)" in done.error
        stream.flush()


def test_where_nobody_answers_is_reported(command: Command, speech: Path) -> None:
    with running(STT) as server:
        url = server.url
    for name in ("transcribe", "say", "stream"):
        given = {"transcribe": [speech], "say": ["hello"], "stream": ["--input-file", speech]}[name]
        done = command(name, *given, "--server", url)
        assert done.code == 1
        assert "Connection refused" in done.error
        assert "kyutai-onnx serve" in done.error


def test_an_unknown_model_is_reported_with_those_that_there_are(
    command: Command, server: Running, speech: Path
) -> None:
    done = command("transcribe", speech, "--server", server.url, "--model", "nobody")
    assert done.code == 3
    assert "stt-demo-en (stt), tts-demo-en (tts)" in done.error


def test_what_was_received_before_a_server_breaks_off_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, pcm: Array
) -> None:
    long = write_wav(tmp_path / "long.wav", np.concatenate([pcm, hiss(60)]))
    out = tmp_path / "out.json"
    with running(STT) as server:
        stopping = threading.Thread(target=stop_after, args=(server, len(pcm) // 1920 + 25))
        stopping.start()
        given = ("-f", "json", "-o", out, "-q", "--rtf", "2")
        done = run_here(capsys, "transcribe", long, *given, "--server", server.url)
        stopping.join()
    assert done.code == 1
    assert "broke off" in done.error
    written = json.loads(out.read_text())
    assert written["text"].startswith("set an alarm")
    assert "shutting down" in written["error"]


def stop_after(server: Running, steps: int) -> None:
    """Stops a server that has stepped so often."""
    engine = server.server.registry.all[0].engine
    until(lambda: engine.statistics.steps >= steps)
    server.stop()


def test_a_voice_that_is_not_there_is_reported(
    command: Command, server: Running, tmp_path: Path
) -> None:
    out = tmp_path / "x.wav"
    done = command("say", "hello", "-q", "--voice", "nobody", "--server", server.url, "-o", out)
    assert done.code == 2
    assert "no voice 'nobody'" in done.error


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("transcribe", "a.wav", "--server", "SERVER", "--threads", "2"), "--threads"),
        (("transcribe", "a.wav", "--server", "SERVER", "--provider", "cpu"), "--provider"),
        (("transcribe", "a.wav", "--server", "SERVER", "--prompt-audio", "x"), "--prompt-audio"),
        (("transcribe", "a.wav", "--rtf", "2"), "--rtf"),
        (("transcribe", "a.wav", "--api-key", "k"), "--api-key"),
        (("transcribe", SAMPLES[0], "--server", "ftp://here"), "--server"),
        (("transcribe", SAMPLES[0], "--server", "http://"), "--server"),
        (("say", "a", "-o", "a.wav", "--turns", "--server", "SERVER"), "--turns"),
        (("say", "a", "-o", "a.wav", "--codebooks", "4", "--server", "SERVER"), "--codebooks"),
        (("say", "a", "-o", "a.wav", "--server", "SERVER", "--api-key", "@none"), "none"),
        (
            ("stream", "--input-file", "a.wav", "--server", "SERVER", "--save-state", "s"),
            "--save-s",
        ),
    ],
)
def test_what_does_not_go_together_is_misuse(
    command: Command, server: Running, arguments: tuple[object, ...], option: str
) -> None:
    done = command(*(server.url if one == "SERVER" else one for one in arguments))
    assert done.code == 2
    assert option in done.error


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else name)
    with pytest.raises(UsageError, match=r": av; .*\[serve\]"):
        connect(ServerOptions("http://localhost"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8998", "http://127.0.0.1:8998"),
        ("ws://host:1", "http://host:1"),
        ("wss://host", "https://host"),
        ("https://host/speech/", "https://host/speech"),
        ("http://[::1]:8998", "http://[::1]:8998"),
    ],
)
def test_a_server_may_be_named_in_many_ways(given: str, meant: str) -> None:
    assert parse_address(given).url == meant


@pytest.fixture(scope="module")
def secure() -> Iterator[Running]:
    with running(STT, TTS, HIBIKI, tls=Tls(self_signed=True), api_keys=("sesame",)) as found:
        yield found


def pinned(server: Running, fingerprint: str | None = None) -> tuple[str, ...]:
    """The options that name a server by its certificate."""
    shown = fingerprint or server.server.fingerprint or ""
    return ("--server", server.url, "--tls-fingerprint", shown, "--api-key", "sesame")


def test_a_server_is_known_by_its_fingerprint(
    command: Command, secure: Running, speech: Path, words: list[Word], tmp_path: Path
) -> None:
    done = command("transcribe", speech, "-q", "-f", "text", *pinned(secure))
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == [word.text for word in words]
    out = tmp_path / "out.wav"
    assert command("say", "six", "-q", "-o", out, *pinned(secure)).code == 0
    assert soundfile.info(out).frames
    bare = (secure.server.fingerprint or "").replace(":", "").lower()
    streamed = command("stream", "--input-file", speech, "-q", *pinned(secure, bare))
    assert (streamed.code, streamed.err) == (0, "")


def test_another_certificate_is_refused_before_the_key_is_sent(
    command: Command, secure: Running, speech: Path
) -> None:
    other = ":".join(["AB"] * 32)
    done = command("transcribe", speech, *pinned(secure, other))
    assert (done.code, done.out) == (1, "")
    assert other in done.error
    assert str(secure.server.fingerprint) in done.error
    done = command("transcribe", speech, "--server", secure.url, "--api-key", "sesame")
    assert done.code == 1
    assert "--tls-fingerprint" in done.error


def test_a_websocket_checks_the_certificate_too(secure: Running) -> None:
    other = parse_address(secure.url, "sesame", "0" * 64)
    with pytest.raises(ServerError, match="00:00"):
        Connection(other, "/api/asr-streaming", {})


def test_a_wrong_scheme_is_one_line(
    command: Command, server: Running, secure: Running, speech: Path
) -> None:
    plain = secure.url.replace("https", "http")
    done = command("transcribe", speech, "--server", plain, "--api-key", "sesame")
    assert (done.code, done.out) == (1, "")
    assert f"'--server {secure.url}'" in done.error
    for more in ((), ("--tls-fingerprint", "0" * 64)):
        url = server.url.replace("http", "wss")
        done = command("transcribe", speech, "--server", url, *more)
        assert (done.code, done.out) == (1, "")
        assert f"'--server {server.url}'" in done.error


@pytest.mark.parametrize(
    ("url", "fingerprint", "said"),
    [
        ("http://host", "0" * 64, "http://host"),
        ("https://host", "12:34", "12:34"),
        ("https://host", f"x={'0' * 64}", "x=0"),
    ],
)
def test_fingerprints_that_cannot_be(url: str, fingerprint: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RemoteServer(url, tls_fingerprint=fingerprint)


@pytest.mark.parametrize("start", ["SHA256 Fingerprint=", "sha256 Fingerprint=", " "])
def test_a_fingerprint_may_be_a_line_of_openssl(start: str) -> None:
    digits = ":".join(["AB"] * 32)
    assert parse_address("https://host", None, f"{start}{digits}\n").fingerprint == digits


def test_a_fingerprint_means_https() -> None:
    assert parse_address("host:1", None, "0" * 64).url == "https://host:1"


def test_keys_are_not_shown() -> None:
    assert "sesame" not in repr(parse_address("http://host", "sesame"))


def test_what_is_no_server_of_ours_is_reported(command: Command, speech: Path) -> None:
    with running(STT, static="none") as server:
        done = command("transcribe", speech, "--server", f"{server.url}/elsewhere")
    assert done.code == 1
    assert "refused (404" in done.error


def test_errors_of_a_stream_are_raised_once(server: Running) -> None:
    with RemoteServer(server.url) as there:
        stream = there.speech_to_text().stream()
        audio = chain([np.full(10, 1e9, np.float32)], repeat(hiss(0.08)))
        with pytest.raises(ServerError, match="broke off"):
            until(lambda: stream.feed(next(audio)) is None)  # one of them raises
        assert stream.flush() == []


def test_what_a_server_sends_is_received_while_it_reads_nothing() -> None:
    events, sent = 50, threading.Event()

    def serve(client: ServerConnection) -> None:
        for _ in range(events):  # the client sends more than the sockets between them hold
            client.send(b"event")
        assert sent.wait(PATIENCE_SECONDS)

    with websocket_server(serve, "127.0.0.1", 0, max_size=None) as there:
        threading.Thread(target=there.serve_forever, daemon=True).start()
        port = there.socket.getsockname()[1]
        connection = Connection(parse_address(f"127.0.0.1:{port}"), "/", {})
        connection.send(bytes(64 << 20))
        received: list[bytes] = []

        def has_all() -> bool:
            received.extend(connection.take())
            return len(received) == events

        until(has_all)
        assert connection.unsent == 1
        sent.set()
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\nabc",
        b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ],
)
def test_an_answer_that_is_broken_is_one_line(
    command: Command, speech: Path, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken, _ = listening.accept()
            with taken:
                taken.recv(1 << 16)
                taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        done = command("transcribe", speech, "--server", f"http://127.0.0.1:{port}")
        thread.join()
    assert (done.code, done.out) == (1, "")
    assert f"127.0.0.1:{port}" in done.error
