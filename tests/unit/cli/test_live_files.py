"""What a live session writes: subtitles that grow, dithered sound, and no noise of others."""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kyutai_onnx.cli.output.subtitles import SubtitleFile
from kyutai_onnx.models import Word
from kyutai_onnx.models.text.subtitles import srt, vtt
from kyutai_onnx.runtime.audio.pcm import DITHER_STEP, Dither
from kyutai_onnx.runtime.audio.stderr_filter import filtered_stderr
from kyutai_onnx.runtime.errors import UsageError


def talk_of(count: int) -> list[Word]:
    return [Word(f"word{i}", 0.4 * i + i // 9, 0.4 * i + i // 9 + 0.3) for i in range(count)]


@pytest.mark.parametrize(("ending", "render"), [(".srt", srt), (".vtt", vtt)])
def test_subtitles_grow_into_those_of_the_whole(
    tmp_path: Path, ending: str, render: Callable[[list[Word]], str]
) -> None:
    path, words = tmp_path / f"live{ending}", talk_of(40)
    subtitles = SubtitleFile(path)
    assert path.read_text() == render([])
    for count, word in enumerate(words, 1):
        subtitles.add([word])
        assert path.read_text() == render(words[:count])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_reader_never_sees_half_of_the_subtitles(tmp_path: Path) -> None:
    path = tmp_path / "live.srt"
    subtitles, over, seen = SubtitleFile(path), threading.Event(), set()
    was_read = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(path.read_text())
            was_read.set()

    reader = threading.Thread(target=read)
    reader.start()
    words = talk_of(300)
    for number, word in enumerate(words):
        subtitles.add([word])
        if number % 50 == 0:
            was_read.clear()
            assert was_read.wait(60)
    over.set()
    reader.join()
    wholes = {srt(words[:count]) for count in range(len(words) + 1)}
    assert seen <= wholes
    assert len(seen) > 3


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.srt or \.vtt"):
        SubtitleFile(tmp_path / "live.json")


def test_dither_is_triangular_and_rounding_is_inaudible() -> None:
    quiet = np.full(200_000, 0.3 * DITHER_STEP, np.float32)
    noise = (Dither()(quiet) - quiet) / DITHER_STEP
    assert np.abs(noise).max() <= 1
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.var() == pytest.approx(1 / 6, rel=0.02)
    rounded = np.rint(Dither()(quiet) / DITHER_STEP)
    assert rounded.mean() == pytest.approx(0.3, abs=0.01)
    assert np.rint(quiet / DITHER_STEP).mean() == 0
    loud = Dither()(np.ones(1000, np.float32))
    assert loud.max() <= 1


@contextmanager
def standard_error() -> Iterator[int]:
    """The end of a pipe at which what is written to standard error can be read."""
    saved, (reading, writing) = os.dup(2), os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield reading
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(reading)


def read(reading: int, length: int) -> bytes:
    found = b""
    while len(found) < length and select.select([reading], [], [], 10)[0]:
        found += os.read(reading, length - len(found)) or pytest.fail(f"ended after {found!r}")
    return found


def test_lines_of_a_library_are_dropped_and_others_pass_at_once() -> None:
    with standard_error() as reading:
        with filtered_stderr((b"Noise",)):
            os.write(2, b"Noise of a library\nfirst\nNoi")
            os.write(2, b"se in two parts\nsecond\n")
            assert read(reading, 13) == b"first\nsecond\n"
            os.write(2, b"no line feed")
        os.write(2, b" after\n")
        assert read(reading, 19) == b"no line feed after\n"
