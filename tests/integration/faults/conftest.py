"""A server in a process of its own, and a witness who is served while others do their worst."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.siege import SETTINGS, used
from support.speech import Array
from support.waiting import until
from support.witness import Witness

from benchmarks.served import ServedProcess, served_process
from kyutai_onnx.models import Word


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    if not Path("/proc/self/status").exists():
        pytest.skip("memory and open files are counted by /proc")
    config = tmp_path_factory.mktemp("server") / "server.toml"
    config.write_text(SETTINGS, "utf-8")
    with served_process("--config", config) as found:
        yield found
        assert found.alive


@pytest.fixture(scope="module")
def witness(server: ServedProcess, pcm: Array, words: list[Word]) -> Iterator[Witness]:
    with Witness(server.port, pcm, [word.text for word in words]) as found:
        yield found
    assert found.talks


@pytest.fixture(autouse=True)
def _nobody_else_is_hurt(server: ServedProcess, witness: Witness) -> Iterator[None]:
    """Every slot comes back but the witness's, whose words are right; nothing is unforeseen."""
    before = len(server.log)
    try:
        yield
        until(lambda: witness.check() or used(server) == 1)
    finally:
        said = server.log[before:]
        print(said[-4000:])  # pytest shows it if something failed
    assert "Traceback" not in said
    assert " error " not in said
