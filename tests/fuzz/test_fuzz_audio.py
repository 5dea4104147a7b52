"""Whatever file strangers post, it is read as far as it is sound, or refused by an AudioError. How
many are tried: see mutations.py."""

import io

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="fuzzes by hypothesis")
pytest.importorskip("av", reason="the media extra is not installed")

from hypothesis import given
from support.mutations import broken, fuzzed
from support.recordings import FILMS, RATE, SOUNDS

from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.runtime.errors import AudioError

MOST_BLOCKS = 100


def read(data: bytes) -> None:
    """All of it, or so much of what never ends."""
    try:
        for _, block in zip(range(MOST_BLOCKS), read_audio(io.BytesIO(data), RATE), strict=False):
            assert len(block) <= RATE + 1
            assert np.isfinite(block).all()
        return
    except AudioError as error:
        why = str(error)
    assert "\n" not in why
    assert len(why) < 400


@pytest.mark.parametrize("data", SOUNDS + FILMS)
def test_what_is_broken_is_sound_otherwise(data: bytes) -> None:
    assert sum(map(len, read_audio(io.BytesIO(data), RATE))) > 0.35 * RATE


@fuzzed
@given(broken(SOUNDS))
def test_files_of_sound(data: bytes) -> None:
    read(data)


@fuzzed
@given(broken(FILMS))
def test_films(data: bytes) -> None:
    read(data)
