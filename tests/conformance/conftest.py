"""A server for clients that know nothing of ours."""

from collections.abc import Iterator

import numpy as np
import pytest
from server_apart import Served, serving
from speech import RATE, Array

from kyutai_onnx.models import Word


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def text(words: list[Word]) -> str:
    """What `transcribe` hears in the speech."""
    return " ".join(word.text for word in words)


@pytest.fixture(scope="session")
def second() -> Array:
    """One of silence."""
    return np.zeros(RATE, np.float32)
