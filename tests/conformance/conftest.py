"""A server for clients that know nothing of ours."""

from collections.abc import Iterator

import numpy as np
import pytest
from support.speech import RATE, Array
from support.waiting import until

from benchmarks.served import ServedProcess, served_process

SETTINGS = """
slots = 2
static = "none"
wyoming_port = 0
models = [{task = "stt"}, {task = "tts", temperature = 0.0}, {task = "hibiki"}]
"""
"""Not every protocol has a seed: without a temperature each speech is the same."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    for package in ("aiohttp", "av", "msgpack", "msgspec", "prometheus_client", "wyoming"):
        pytest.importorskip(package, reason="the serve extra is not installed")
    config = tmp_path_factory.mktemp("conformance") / "server.toml"
    config.write_text(SETTINGS, "utf-8")
    with served_process("--config", config) as found:
        yield found


@pytest.fixture(autouse=True)
def _free(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a session behind."""
    yield
    if "server" in request.fixturenames:
        found: ServedProcess = request.getfixturevalue("server")
        until(lambda: found.used == 0)


@pytest.fixture(scope="session")
def second() -> Array:
    """One of silence."""
    return np.zeros(RATE, np.float32)
