"""Arrays of any float or integer type, and files in memory, become mono float32 blocks."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from kyutai_onnx.runtime.audio import Pcm, audio_blocks
from kyutai_onnx.runtime.errors import AudioError, UsageError

RATE = 24_000
TONE: Pcm = (0.4 * np.sin(np.arange(12_000) / 9)).astype(np.float32)
FULL = {"int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31, "int64": 2.0**63}


def whole(audio: Any, **given: Any) -> Pcm:
    blocks = list(audio_blocks(audio, RATE, **given))
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate(blocks)


def test_float32_at_the_rate_is_passed_as_it_is() -> None:
    (block,) = audio_blocks(TONE, RATE)
    assert block is TONE


@pytest.mark.parametrize("dtype", ["float16", "float64", "int16", "int32", "int64", ">i2", "<f8"])
def test_other_types_are_scaled(dtype: str) -> None:
    scale = FULL.get(np.dtype(dtype).name, 1.0)
    given = (TONE.astype(np.float64) * scale).astype(dtype)
    np.testing.assert_allclose(whole(given), TONE, atol=5e-4 if dtype == "float16" else 1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_unsigned_integers_are_centred(dtype: str) -> None:
    half = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    given = (TONE.astype(np.float64) * half + half).astype(dtype)
    np.testing.assert_allclose(whole(given), TONE, atol=1.1 / half)


def test_another_rate_is_resampled_as_a_whole() -> None:
    resampled = soxr.resample(TONE, 16_000, RATE, "HQ")
    np.testing.assert_array_equal(whole(TONE, source_rate=16_000), resampled)
    np.testing.assert_array_equal(whole(TONE, source_rate=RATE), TONE)


def test_channels_are_mixed_or_chosen() -> None:
    both = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    np.testing.assert_array_equal(whole(both), TONE / 2)
    np.testing.assert_array_equal(whole(both, channel=0), TONE)
    with pytest.raises(UsageError, match="channel 2"):
        whole(both, channel=2)


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros((5, 0)), "shape"),
        (np.zeros(5, np.complex64), "complex64"),
        (np.zeros(5, np.bool_), "bool"),
        (np.array(["one"]), "floats or integers"),
    ],
)
def test_what_is_no_audio_is_refused(audio: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        whole(audio)


def test_samples_that_are_not_finite_are_refused_before_they_spread() -> None:
    with pytest.raises(UsageError, match="NaN"):
        whole(np.full(100, np.nan), source_rate=16_000)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_a_file_may_be_in_memory(wrap: Any) -> None:
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(whole(wrap(file.getvalue())), TONE)


def test_the_rate_of_a_file_is_its_own() -> None:
    with pytest.raises(UsageError, match="leave it out"):
        whole(b"RIFF", source_rate=RATE)
    with pytest.raises(AudioError):
        whole(b"")
