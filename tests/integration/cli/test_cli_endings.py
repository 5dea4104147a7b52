"""Commands end alike by every signal, and in one line if nothing can be printed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import Result, command_line, run_apart
from support.speech import Array, wav_bytes, write_wav
from support.waiting import PATIENCE_SECONDS

from kyutai_onnx.models.resolve import DEMO

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
HIBIKI, TTS = DEMO / "hibiki", DEMO / "tts"
FULL = Path("/dev/full")


def ended(name: str, folder: Path, content: bytes, *arguments: object) -> Result:
    """A command that is sent a signal when it has read most of its standard input, which stays
    open: a pipe holds 64 KB."""
    pipe = subprocess.PIPE
    line = command_line(*arguments, "-q")
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(content)
            process.stdin.flush()
            process.send_signal(signal.Signals[name])
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    return Result(process.returncode, out.decode("utf-8", "replace"), err.decode())


@pytest.fixture(scope="module")
def long_speech(pcm: Array) -> bytes:
    """Recorded speech of 15 s, again and again the same."""
    return wav_bytes(np.tile(pcm, 5))


@pytest.mark.parametrize("name", SIGNALS)
def test_a_transcript_is_written(name: str, long_speech: bytes, tmp_path: Path) -> None:
    done = ended(name, tmp_path, long_speech, "transcribe", "-", "-f", "json", "-o", "out.json")
    assert (done.code, done.out, done.err) == (130, "", "")
    content = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert content["error"] == "interrupted"
    assert "alarm" in content["text"]
    times = [word["end"] for word in content["words"]]
    times += [pause["time"] for pause in content["pauses"]]
    assert max(times) <= content["duration"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_codes_are_written(long_speech: bytes, tmp_path: Path) -> None:
    done = ended("SIGTERM", tmp_path, long_speech, "codec", "encode", "-", "codes.npz")
    assert (done.code, done.out, done.err) == (130, "", "")
    with np.load(tmp_path / "codes.npz") as file:
        assert file["codes"].shape[1] > 25
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_a_translation_is_written(long_speech: bytes, tmp_path: Path) -> None:
    files = ("out.wav", "--words", "words.json", "--dump-tokens", "dump.npz", "--seed", 1)
    done = ended("SIGTERM", tmp_path, long_speech, "translate", "-", *files)
    assert (done.code, done.err) == (130, "")
    assert soundfile.info(tmp_path / "out.wav").frames > 24_000
    assert json.loads((tmp_path / "words.json").read_text("utf-8"))["duration"] > 1
    assert len(list(tmp_path.iterdir())) == 3


def test_a_stream_is_written(long_speech: bytes, tmp_path: Path) -> None:
    arguments = ("stream", "--input-file", "-", "--rate", 100, "--words", "words.srt")
    done = ended("SIGTERM", tmp_path, long_speech, *arguments, "--save-input", "heard.wav")
    assert (done.code, done.err) == (130, "")
    assert "alarm" in done.out
    assert "alarm" in (tmp_path / "words.srt").read_text("utf-8")
    assert soundfile.info(tmp_path / "heard.wav").frames > 24_000
    assert len(list(tmp_path.iterdir())) == 2


def test_speech_is_written(tmp_path: Path) -> None:
    text = 40 * b"one hundred twenty three thousand four hundred fifty six "
    line = command_line("say", "-", "--words", "out.json", "--save-voice", "v", "-q")
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, cwd=tmp_path) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(text)
            process.stdin.flush()
            assert len(process.stdout.read(9600)) == 9600
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, b"")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["duration"] > 0
    assert len(list(tmp_path.iterdir())) == 2


def test_figures_of_what_was_received_are_printed(pcm: Array, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", pcm)
    os.mkfifo(tmp_path / "never.wav")
    entries = [{"audio": name, "text": "set an alarm"} for name in 20 * ["a.wav"] + ["never.wav"]]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, entries)))
    line = command_line("evaluate", "--dataset", tmp_path / "set.jsonl", "--json", "-q")
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe) as process:
        try:
            with (tmp_path / "never.wav").open("wb"):  # once the last one is being read
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, b"")
    figures = json.loads(out)
    assert figures["samples"] > 0


PRINTING = [
    ("--help",),
    ("--version",),
    ("info", "-q"),
    ("transcribe", "SPEECH", "-q"),
    ("transcribe", "SPEECH", "SPEECH", "-q"),
    ("stream", "--input-file", "SPEECH", "--rate", "100", "-q"),
    ("say", "one", "--model", TTS, "--seed", 1, "-q"),
    ("codec", "encode", "SPEECH", "-", "-q"),
    ("translate", "SPEECH", "-", "--seed", 1, "-q"),
    ("bench", "--frames", 1, "-q"),
]


def reported(arguments: Sequence[object]) -> str:
    return "-".join(str(part) for part in arguments if "/" not in str(part))


@pytest.mark.parametrize("arguments", PRINTING, ids=reported)
@pytest.mark.parametrize("redirected", [">&-", f">{FULL}"], ids=["closed", "full"])
def test_output_that_nothing_takes_is_one_line(
    arguments: tuple[object, ...], redirected: str, speech: Path
) -> None:
    if str(FULL) in redirected and not FULL.exists():
        pytest.skip("no /dev/full on this system")
    given = [speech if part == "SPEECH" else part for part in arguments]
    shell = ["sh", "-c", f'exec "$@" {redirected}', "sh", *command_line(*given)]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "standard output" in line


@pytest.mark.parametrize("redirected", ["2>&-", f"2>{FULL}", ">&- 2>&- <&-"])
def test_what_goes_to_files_needs_no_standard_streams(
    redirected: str, speech: Path, text: str, tmp_path: Path
) -> None:
    arguments = command_line("transcribe", speech, "-o", tmp_path / "out.txt")
    shell = ["sh", "-c", f'exec "$@" {redirected}', "sh", *arguments]
    done = subprocess.run(shell, stdout=subprocess.PIPE, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert (tmp_path / "out.txt").read_text() == text + "\n"


def test_an_error_that_nobody_reads_is_still_an_exit_code() -> None:
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command_line("info", "nowhere")]
    done = subprocess.run(shell, stdout=subprocess.PIPE, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (3, b"")


def test_the_version_is_printed() -> None:
    done = run_apart("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("kyutai-onnx ")
