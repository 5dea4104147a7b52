"""Sounds for tests: speech by espeak-ng, and files of samples."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kyutai_onnx.runtime.audio import AudioSource, read_audio

Array = np.ndarray[Any, Any]
RATE = 24000


def say_aloud(path: Path, text: str, voice: str = "en-us") -> Path:
    """Speaks a text into a wav at the demo's rate; skips the test where espeak-ng is missing."""
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("espeak-ng is not installed")
    spoken = subprocess.run(
        [program, "-v", voice, "-s", "150", "--stdout", text], capture_output=True, check=True
    )
    return write_wav(path, whole(io.BytesIO(spoken.stdout)))


def whole(source: AudioSource) -> Array:
    """All of a recording at the demo's rate, float32 `[n]`."""
    return np.concatenate(list(read_audio(source, RATE)))


def write_wav(path: Path, samples: Array, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """A wav of samples `[n]` or `[n, channels]` at `rate`."""
    soundfile.write(path, samples, rate, subtype)
    return path


def wav_bytes(samples: Array, rate: int = RATE) -> bytes:
    """The same as the bytes of a pipe."""
    content = io.BytesIO()
    soundfile.write(content, samples, rate, "PCM_16", format="WAV")
    return content.getvalue()


def hiss(seconds: float, rate: int = RATE) -> Array:
    """Quiet noise, float32 `[n]`."""
    noise = np.random.default_rng(0).standard_normal(int(seconds * rate))
    return (0.01 * noise).astype(np.float32)
