"""Exports of small models."""

from collections.abc import Iterator

import pytest
from support.shared import Shared


@pytest.fixture(scope="session", autouse=True)
def _traces(shared: Shared) -> Iterator[None]:
    pytest.importorskip("torch", reason="the export needs torch")
    from support.traces import traced_once

    with traced_once(shared):
        yield
