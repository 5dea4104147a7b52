"""Short recordings in the containers of libsndfile and of media players."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import soundfile

from kyutai_onnx.runtime.audio import Pcm

av = pytest.importorskip("av", reason="the media extra is not installed")

FAST = {"movflags": "+faststart"}
"""What is needed to read it lies at the beginning."""


def film(
    path: Path, pcm: Pcm, rate: int, container: str, codec: str, *, pictures: float = 0.0
) -> Path:
    """The samples `[n]` in a file, beside seconds of moving pictures if there are to be any."""
    with av.open(str(path), "w", format=container, options=FAST) as made:
        images = made.add_stream("mpeg4", rate=25) if pictures else None
        track: Any = made.add_stream(codec, rate=rate)
        track.layout = "mono"
        if images is not None:
            images.width = images.height = 64
            for index in range(round(25 * pictures)):
                image = np.full((64, 64, 3), index % 256, np.uint8)
                made.mux(images.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            made.mux(images.encode(None))
        frame = av.AudioFrame.from_ndarray(pcm[None].astype(np.float32), "flt", "mono")
        frame.sample_rate, frame.pts = rate, 0
        made.mux(track.encode(frame))
        made.mux(track.encode(None))
    return path


def tone(rate: int, seconds: float = 2.0) -> Pcm:
    at = np.arange(round(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * at) * np.hanning(len(at))).astype(np.float32)


RATE = 24000
TONE = tone(RATE, 0.4)


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
        ("mpegts", "aac", 0.2),
        ("wv", "wavpack", 0.0),
    )
]
