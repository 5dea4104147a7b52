"""What many tests share: the embedded demo, speech to try it on, and a way to run commands."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.commands import Command, run_here
from support.shared import Shared, shared_folder
from support.speech import Array, whole, write_wav

from kyutai_onnx import runtime
from kyutai_onnx.models import Mimi, SpeechToText, Word
from kyutai_onnx.models.resolve import DEMO, VARIABLE

settings.register_profile(
    "any machine",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

FOLDERS = ["parity", "hardware", "conformance", "fuzz", "integration", "unit"]
"""Longest tests first: the workers end at about the same time."""
SPREAD = ("tests/parity/", "tests/integration/test_page_blocks.py")
SOUND = dict.fromkeys(
    ("tests/hardware/test_virtual_card.py", "tests/conformance/test_moshi_client.py"), "sound"
)


def pytest_configure() -> None:
    """Tests in the background of a shell ignore interrupts, and under nohup hang-ups, and so would
    the programs that they start and signal. Those that import onnxruntime themselves send no
    telemetry either."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # or each would take all cores for torch
        _take_a_core(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def _take_a_core(worker: int, workers: int) -> None:
    """Binds a worker to a core of its own where there is one for each: two threads of a small graph
    on cores that are taken wait for each other longer than one takes for it all."""
    if sys.platform == "linux" and workers == cores():
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[worker]})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Unit tests have as many workers as there are cores. Others also wait for processes, pages and
    sound cards: with two workers for each core no core waits along. Files that are named are tested
    in this process."""
    named = [Path(argument.partition("::")[0]) for argument in config.args]
    if any(name.is_file() for name in named):
        return 0
    quick = Path(__file__).parent / "unit"
    return None if all(name.resolve().is_relative_to(quick) for name in named) else 2 * cores()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by its folder."""
    for item in items:
        item.add_marker(folder(item))
    items.sort(key=lambda item: FOLDERS.index(folder(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run on one worker, for what its module makes serves them all. Those of
    `SPREAD` share nothing but what is made once for all workers, and each runs where there is
    room; those of `SOUND` use one sound card. (The marker `xdist_group` has no effect: xdist 3.8
    writes an attribute that pytest 9.2 does not read.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file.startswith(SPREAD) else SOUND.get(file, file)

    return ByFile(config, log)


def folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test reads or fills the caches of whoever runs it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that runs in this process, such as one with `--quiet`, sets the log for good."""
    logger = logging.getLogger(runtime.__name__)
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(shared_folder(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def model() -> SpeechToText:
    return SpeechToText.load(DEMO / "stt")


@pytest.fixture(scope="session")
def mimi() -> Mimi:
    return Mimi.load(DEMO / "stt")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence that the demo knows, as a wav of some seconds at its own rate."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    return write_wav(path, whole(DEMO / "samples" / "alarm.wav"))


@pytest.fixture(scope="session")
def pcm(speech: Path) -> Array:
    """The same speech as samples float32 `[n]`."""
    return whole(speech)


@pytest.fixture(scope="session")
def words(pcm: Array, model: SpeechToText) -> list[Word]:
    """What the demo transcribes of it when it gets all of it at once."""
    found = list(model.transcribe(pcm))
    assert len(found) > 1
    return found


@pytest.fixture(scope="session")
def text(words: list[Word]) -> str:
    """The same in one line."""
    return " ".join(word.text for word in words)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process and returns its exit code, stdout and stderr."""
    return lambda *arguments: run_here(capsys, *arguments)
