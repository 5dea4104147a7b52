"""Whatever file strangers post, it is read as far as it is sound, or refused by an AudioError. How
many are tried: see mutations.py."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="fuzzes by hypothesis")
pytest.importorskip("av", reason="the media extra is not installed")

import soundfile
from hypothesis import given
from mutations import broken, fuzzed
from test_audio_media import film, tone

from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.runtime.errors import AudioError

RATE = 24000
TONE = tone(RATE, 0.4)
MOST_BLOCKS = 100


def written(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE, subtype, format=container)
    return file.getvalue()


def filmed(container: str, codec: str, pictures: float) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        return film(path, TONE, RATE, container, codec, pictures=pictures).read_bytes()


SOUNDS = [
    written(*kind)
    for kind in (
        ("WAV", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    )
]
FILMS = [
    filmed(*kind)
    for kind in (
        ("ipod", "aac", 0.0),
        ("mp4", "aac", 0.2),
        ("webm", "libopus", 0.0),
        ("matroska", "flac", 0.2),
        ("flv", "aac", 0.0),
        ("avi", "pcm_s16le", 0.2),
        ("adts", "aac", 0.0),
    )
]


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
