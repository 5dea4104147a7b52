"""`say` as a process: text that comes slowly, readers that have enough, Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from support.commands import command_line, run_apart, size_so_far
from support.speaking import speaking_bundle
from support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
HEADER = 44
MANY = "one two three four five six seven eight nine ten " * 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    return speaking_bundle(folder, embeddings=False).path


@contextlib.contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command_line(*arguments), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[bytes], count: int) -> bytes:
    """So many bytes of stdout."""
    assert process.stdout is not None
    found = b""
    while len(found) < count:
        more = os.read(process.stdout.fileno(), count - len(found))
        assert more, process.communicate()
        found += more
    return found


def test_speech_sounds_before_the_text_ends(bundle: Path) -> None:
    arguments = ("say", "-", "-o", "-", "--model", bundle, "--temp", 0, "-q")
    with start(*arguments) as process:
        assert process.stdin is not None
        process.stdin.write(b"one two three four five ")
        process.stdin.flush()
        early = read(process, HEADER + 4 * 1920)
        assert process.poll() is None
        rest, err = process.communicate(b"six seven", PATIENCE_SECONDS)
    whole = run_apart(
        *arguments[:1],
        "one two three four five six seven",
        *arguments[2:],
        "--raw",
        "-o",
        bundle.parent / "whole.raw",
    )
    assert (process.returncode, err, whole.code) == (0, b"", 0)
    assert (early + rest)[HEADER:] == (bundle.parent / "whole.raw").read_bytes()


def test_a_reader_that_has_enough_is_no_error(bundle: Path) -> None:
    with start("say", MANY, "-o", "-", "--model", bundle, "--temp", 0, "-q") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        read(process, HEADER + 1920)
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("source", ["argument", "pipe"])
def test_an_interrupt_leaves_a_valid_file(bundle: Path, tmp_path: Path, source: str) -> None:
    out, words = tmp_path / "out.wav", tmp_path / "out.srt"
    text = MANY if source == "argument" else "-"
    arguments = ("-o", out, "--words", words, "--model", bundle, "--temp", 0)
    with start("say", text, *arguments) as process:
        assert process.stdin is not None
        if source == "pipe":
            process.stdin.write(b"one two three four five six seven eight nine ten ")
            process.stdin.flush()
        until(lambda: size_so_far(out) >= HEADER + 20 * 1920)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert err.startswith(b"interrupted after ")
    info = soundfile.info(out)
    assert info.frames >= 10 * 1920
    assert out.stat().st_size == HEADER + 2 * info.frames
    assert "one two" in words.read_text()


def test_an_interrupt_of_many_leaves_valid_files(bundle: Path, tmp_path: Path) -> None:
    texts, folder = tmp_path / "texts.jsonl", tmp_path / "made"
    folder.mkdir()
    texts.write_text("".join(f'{{"text": "{MANY}", "id": "{name}"}}\n' for name in "ab"))
    with start("say", "--jsonl", texts, "-o", folder, "--model", bundle, "--temp", 0) as process:
        until(lambda: size_so_far(folder / "b.wav") >= 20 * 1920)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    for name in "ab":
        assert soundfile.info(folder / f"{name}.wav").frames > 0
