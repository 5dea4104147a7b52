"""A disk that is full or read-only is reported in one line."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import Command
from support.speech import Array

from kyutai_onnx.models import Mimi

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@needs_full
@pytest.mark.parametrize("kind", ["text", "json", "srt"])
def test_a_full_disk_takes_no_transcript(command: Command, speech: Path, kind: str) -> None:
    done = command("transcribe", speech, "-f", kind, "-o", FULL, "-q")
    assert (done.code, done.out) == (1, "")
    assert done.error.startswith("/dev/full: cannot be written")


@needs_full
def test_a_full_disk_does_not_keep_the_transcript_from_stdout(
    command: Command, speech: Path, text: str
) -> None:
    done = command("transcribe", speech, "--dump-tokens", FULL, "-q")
    assert (done.code, done.out) == (1, text + "\n")
    assert "No space left" in done.error


@needs_full
def test_a_full_disk_takes_no_codes(command: Command, speech: Path) -> None:
    done = command("codec", "encode", speech, FULL, "-q")
    assert done.code == 1
    assert "No space left" in done.error


@needs_full
def test_a_full_disk_takes_no_sound(
    command: Command, pcm: Array, mimi: Mimi, tmp_path: Path
) -> None:
    np.savez(tmp_path / "codes.npz", codes=mimi.encode(pcm))
    (tmp_path / "full.wav").symlink_to(FULL)
    done = command("codec", "decode", tmp_path / "codes.npz", tmp_path / "full.wav", "-q")
    assert done.code == 4
    assert "No space left" in done.error


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which nothing can be written, by whoever it is."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    opened = os.open

    def open_(path: Path | str, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", open_)
    return folder


@pytest.mark.parametrize("name", ["", "out.txt"])
def test_a_read_only_folder_takes_no_transcript(
    command: Command, speech: Path, read_only: Path, name: str
) -> None:
    done = command("transcribe", speech, "-o", read_only / name, "-q")
    assert (done.code, done.out) == (1, "")
    assert str(read_only) in done.error
    assert "Read-only file system" in done.error


def test_a_read_only_folder_takes_no_codes_and_no_tokens(
    command: Command, speech: Path, read_only: Path, text: str
) -> None:
    done = command("codec", "encode", speech, read_only / "codes.npz", "-q")
    assert done.code == 1
    assert "Read-only file system" in done.error
    done = command("transcribe", speech, "--dump-tokens", read_only / "dump.npz", "-q")
    assert (done.code, done.out) == (1, text + "\n")
    assert "Read-only file system" in done.error


def test_a_file_is_no_folder_to_write_in(command: Command, speech: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("transcribe", speech, "-o", tmp_path / "file" / "out.txt", "-q")
    assert done.code == 2
    assert str(tmp_path / "file" / "out.txt") in done.error


def test_one_transcript_that_cannot_be_written_does_not_keep_the_next(
    command: Command, speech: Path, pcm: Array, tmp_path: Path, text: str
) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(speech.read_bytes())
    (tmp_path / "out" / "speech.txt").mkdir(parents=True)
    done = command("transcribe", speech, other, "-o", tmp_path / "out", "-q")
    assert done.code == 1
    assert "speech.txt" in done.error
    assert (tmp_path / "out" / "other.txt").read_text() == text + "\n"


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the end of a file."""
    from kyutai_onnx.cli import transcription

    read_audio = transcription.read_audio

    class Interrupted(SimpleNamespace):
        def close(self) -> None:
            self.blocks.close()

        def __iter__(self):
            yield from self.blocks
            raise KeyboardInterrupt

        @property
        def info(self):
            return self.blocks.info

    monkeypatch.setattr(
        transcription, "read_audio", lambda *a, **k: Interrupted(blocks=read_audio(*a, **k))
    )


@pytest.mark.usefixtures("interrupted")
def test_what_was_found_before_an_interrupt_is_written(
    command: Command, speech: Path, tmp_path: Path, text: str
) -> None:
    done = command("transcribe", speech, "-f", "json", "-o", tmp_path / "out.json", "-q")
    assert (done.code, done.out) == (130, "")
    content = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (content["text"], content["error"]) == (text, "interrupted")


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("kind", ["text", "json"])
def test_of_several_files_what_was_found_before_an_interrupt_is_printed(
    command: Command, speech: Path, kind: str, text: str
) -> None:
    done = command("transcribe", speech, speech, "-f", kind, "-q")
    assert (done.code, done.err) == (130, "")
    if kind == "json":
        found = [(content["text"], content["error"]) for content in json.loads(done.out)]
        assert found == 2 * [(text, "interrupted")]
    else:
        assert done.out == 2 * f"{speech}: {text}\n"
