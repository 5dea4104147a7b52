"""Kyutai's package runs beside ours, on checkpoints of random weights."""

import os

import pytest

os.environ["NO_TORCH_COMPILE"] = "1"

pytest.importorskip("torch", reason="parity needs torch")
pytest.importorskip("moshi", reason="parity needs Kyutai's package")

from collections.abc import Iterator

from support.parity.fixtures import bundle, checkpoint
from support.shared import Shared
from support.traces import traced_once

__all__ = ["bundle", "checkpoint"]


@pytest.fixture(scope="session", autouse=True)
def _traces(shared: Shared) -> Iterator[None]:
    with traced_once(shared):
        yield
