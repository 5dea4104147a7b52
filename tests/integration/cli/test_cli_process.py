"""`kyutai-onnx` as a process: exit codes, pipes that are slow or closed, Ctrl-C."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import command_line, run_apart
from support.speech import Array, wav_bytes, write_wav
from support.waiting import PATIENCE_SECONDS

from kyutai_onnx.models import Word
from kyutai_onnx.models.families import SAMPLES
from kyutai_onnx.models.resolve import VARIABLE

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


@contextlib.contextmanager
def started(*arguments: object, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A running command with pipes to it and from it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command_line(*arguments), **(pipes | options)) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], wanted: str) -> str:
    """Stdout up to where `wanted` is in it."""
    assert process.stdout is not None
    found = b""
    while wanted.encode() not in found:
        more = os.read(process.stdout.fileno(), 1000)
        assert more, process.communicate()
        found += more
    return found.decode()


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (0, ("info",)),
        (2, ("transcribe", "--louder")),
        (3, ("info", "nowhere")),
        (4, ("transcribe", "nowhere.wav", "-q")),
        (2, ("transcribe", str(SAMPLES / "alarm.wav"), "-q", "--provider", "abacus")),
    ],
)
def test_exit_codes(code: int, arguments: tuple[str, ...]) -> None:
    done = run_apart(*arguments)
    assert done.code == code
    assert code == 0 or done.error


def test_results_go_to_stdout_and_notes_to_stderr(speech: Path, text: str) -> None:
    done = run_apart("transcribe", speech)
    assert (done.code, done.out) == (0, text + "\n")
    (note,) = done.err.splitlines()
    assert "embedded demo" in note


@posix
def test_what_libraries_print_is_no_result(tmp_path: Path) -> None:
    """libsndfile prints a line to standard output for each damaged packet of this format."""
    path = tmp_path / "flood.sds"
    soundfile.write(path, np.zeros(24000, np.float32), 24000, "PCM_16", format="SDS")
    damaged = bytearray(path.read_bytes())
    damaged[21::127] = bytes(len(damaged[21::127]))
    path.write_bytes(damaged)
    done = run_apart("transcribe", path, "-q", "-f", "json")
    assert "Error" not in done.out
    assert done.code != 0 or json.loads(done.out)["file"]


def test_the_environment_names_a_model() -> None:
    done = run_apart("info", env={VARIABLE: "nowhere"})
    assert done.code == 3
    assert done.error.startswith("nowhere")


def test_offline_a_published_bundle_must_be_in_the_cache(tmp_path: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = run_apart("info", "hf://someone/something", env=env)
    assert done.code == 3
    assert "HF_HUB_OFFLINE" in done.error


@pytest.mark.parametrize(
    "arguments", [("info", "hf://someone/something"), ("export", "someone/something")]
)
def test_without_a_network_there_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The Hub's client says each time that it tries again, for 20 s."""
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = run_apart(*arguments, env=env)
    assert (done.code, done.out) == (3, "")
    assert "no network" in done.error


def test_any_name_of_a_file_is_printed(speech: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "été ☀.wav"
    path.write_bytes(speech.read_bytes())
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run_apart("transcribe", path, "-q", "-f", "json", env=env)
    assert (done.code, done.err) == (0, "")
    content = json.loads(done.out)
    assert (content["file"], content["text"]) == (str(path), text)


@posix
def test_nothing_is_written_for_telemetry(speech: Path, tmp_path: Path) -> None:
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(command_line("transcribe", speech, "-q"), env=bare, check=True)
    written = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in written if "onnxruntime" in name or name == "deviceid"}


@posix
def test_a_name_that_is_no_text_is_printed_all_the_same(
    speech: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    try:
        path.symlink_to(speech)
    except OSError:
        pytest.skip("file names are text on this disk")
    done = run_apart("transcribe", path, "-q", "-f", "json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["text"] == text
    out = tmp_path / "out.json"
    assert run_apart("transcribe", path, "-q", "-f", "json", "-o", out).code == 0
    assert json.loads(out.read_text("utf-8"))["text"] == text


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "SPEECH", "-q"),
        ("transcribe", "SPEECH", "SPEECH", "-q", "-f", "json"),
        ("stream", "--input-file", "SPEECH", "--rate", "100", "-q"),
        ("info", "-q"),
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_a_reader_that_has_enough_is_no_error(speech: Path, arguments: tuple[str, ...]) -> None:
    nobody, into = os.pipe()
    os.close(nobody)
    try:
        given = (str(speech) if part == "SPEECH" else part for part in arguments)
        done = run_apart(*given, stdout=into)
    finally:
        os.close(into)
    assert (done.code, done.err) == (0, "")


@posix
def test_a_reader_that_takes_a_byte_is_no_error(speech: Path) -> None:
    with started("transcribe", speech, "-q") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(os.read(process.stdout.fileno(), 1)) == 1
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", [("info", "-q"), ("transcribe", "SPEECH", "-q")])
def test_a_full_disk_behind_stdout_is_reported(speech: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        given = (str(speech) if part == "SPEECH" else part for part in arguments)
        done = run_apart(*given, stdout=full)
    assert done.code == 1
    assert "No space" in done.error


@posix
@pytest.mark.parametrize(
    "arguments",
    [("transcribe", "-", "-q"), ("stream", "--input-file", "-", "--rate", "50", "-q")],
    ids=lambda arguments: arguments[0],
)
def test_words_of_a_slow_pipe_come_before_it_ends(
    pcm: Array, text: str, arguments: tuple[str, ...]
) -> None:
    first, *_ = text.split()
    content = wav_bytes(np.concatenate([pcm, np.zeros(24_000 * 4, np.float32)]))
    half = len(content) - 48_000
    with started(*arguments) as process:
        assert process.stdin is not None
        process.stdin.write(content[:half])
        process.stdin.flush()
        early = read_until(process, first)
        assert process.poll() is None
        out, err = process.communicate(content[half:], PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert (early + out.decode()).split() == text.split()


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "-", "-q"),
        ("stream", "--input-file", "-", "--rate", "50", "-q"),
        ("stream", "--input-file", "-", "--rate", "50", "-q", "-f", "jsonl"),
    ],
    ids=lambda arguments: "-".join(arguments[::5]),
)
def test_an_interrupt_flushes_what_was_received(
    pcm: Array, words: list[Word], arguments: tuple[str, ...]
) -> None:
    content = wav_bytes(np.concatenate([pcm, np.zeros(24_000 * 4, np.float32)]))
    with started(*arguments) as process:
        assert process.stdin is not None
        process.stdin.write(content[:-48_000])
        process.stdin.flush()
        early = read_until(process, words[0].text)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    found = early + out.decode()
    assert (process.returncode, err) == (130, b"")
    assert found.endswith("\n")
    if "jsonl" in arguments:
        events = [json.loads(line) for line in found.splitlines()]
        said = [event["text"] for event in events if event["type"] == "word"]
    else:
        said = found.split()
    assert said
    assert said[0] == words[0].text


@posix
def test_an_interrupt_at_the_pace_of_speech(pcm: Array, words: list[Word], tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.concatenate([pcm, np.zeros(24_000 * 600)]))
    with started("stream", "--input-file", path, "--rate", 4) as process:
        read_until(process, words[0].text)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    recognized = re.search(rb"received (\d+\.\d) s", err)
    assert recognized is not None, err
    assert float(recognized[1]) < 600
