"""A file is replaced as a whole or stays as it is, and nothing is left beside it."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kyutai_onnx.runtime.audio import AudioWriter
from kyutai_onnx.runtime.errors import AudioError, KyutaiOnnxError
from kyutai_onnx.runtime.output_file import OutputFile, output_file
from kyutai_onnx.runtime.state_file import write_state

OLD = b"what was there before"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may be larger than 20,000 bytes meanwhile, as if the disk were full then. Holds for
    the file too that pytest itself writes to, so that it is no fixture."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def alone(path: Path) -> bool:
    """Whether nothing else lies in the folder."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_old_file_stays_until_the_new_one_is_whole(target: Path) -> None:
    with output_file(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == OLD
    assert target.read_bytes() == b"new"
    assert alone(target)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_file_and_nothing_else(
    target: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        with output_file(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == OLD
    assert alone(target)


def test_a_full_disk_leaves_an_old_saved_stream(target: Path) -> None:
    with small_disk(), pytest.raises(KyutaiOnnxError, match="File too large"):
        write_state(target, {"keys": np.zeros(100_000)})
    assert target.read_bytes() == OLD
    assert alone(target)


@pytest.mark.parametrize("name", ["old.wav", "old.flac"])
def test_a_full_disk_leaves_an_old_recording(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with AudioWriter(path, 24000) as writer:
        writer.write(np.zeros(2400, np.float32))
    old = path.read_bytes()
    noise = np.random.default_rng(0).standard_normal(24000).astype(np.float32) / 10
    with small_disk(), pytest.raises(AudioError), AudioWriter(path, 24000) as writer:
        writer.write(np.tile(noise, 10))
    assert path.read_bytes() == old
    assert alone(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_an_error_replaces_no_recording_and_an_interrupt_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def record(samples: int, error: type[BaseException]) -> None:
        with AudioWriter(path, 24000) as writer:
            writer.write(np.zeros(samples, np.float32))
            raise error

    for samples, error, kept in (
        (0, ValueError, None),
        (1000, ValueError, 1000),
        (2000, ValueError, 1000),
        (0, KeyboardInterrupt, 1000),
        (3000, KeyboardInterrupt, 3000),
    ):
        with pytest.raises(error):
            record(samples, error)
        assert (soundfile.info(path).frames if path.exists() else None) == kept
    assert alone(path)


KILL = """
import os, sys
from kyutai_onnx.runtime.output_file import output_file
with output_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_kill_leaves_the_old_file_and_a_part_with_its_name(target: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILL, str(target)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    (part,) = (path for path in target.parent.iterdir() if path != target)
    assert (part.name.startswith("file."), part.suffix) == (True, ".part")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_mode_of_a_replaced_file_is_kept_and_a_new_one_follows_the_umask(target: Path) -> None:
    target.chmod(0o640)
    new = target.with_name("new")
    before = os.umask(0o027)
    try:
        for path in (target, new):
            with output_file(path) as file:
                file.write(b"new")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (target, new)] == [0o640, 0o640]


def test_a_link_stays_and_its_file_is_replaced(target: Path) -> None:
    folder = target.with_name("folder")
    folder.mkdir()
    link, dangling = folder / "link", folder / "dangling"
    link.symlink_to("../file")
    dangling.symlink_to("../other")
    for path in (link, dangling):
        with output_file(path) as file:
            file.write(b"new")
        assert path.is_symlink()
        assert path.read_bytes() == b"new"
    assert sorted(path.name for path in folder.iterdir()) == ["dangling", "link"]


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    with output_file(path) as file:
        file.write(b"new")
    assert alone(path)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout on this system")
def test_a_descriptor_is_written_and_not_replaced(target: Path) -> None:
    code = (
        "from kyutai_onnx.runtime.output_file import output_file\n"
        "with output_file('/dev/stdout') as file: file.write(b'new')\n"
    )
    with target.open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, timeout=60, check=True)
        assert os.fstat(file.fileno()).st_ino == target.stat().st_ino
    assert target.read_bytes() == b"new"
    assert alone(target)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with output_file(pipe) as file:
            file.write(b"new")
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)
    assert alone(pipe)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KyutaiOnnxError, match="directory"), output_file(tmp_path):
        pass
    with pytest.raises(IsADirectoryError):
        OutputFile(tmp_path)
