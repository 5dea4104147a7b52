"""Audio of files and pipes: read any of them as mono float32 blocks, write blocks to a file.

Built on libsndfile and soxr. Knows nothing of models; a frame here is what `Framer` was told.
"""

from .framer import Framer
from .info import AudioInfo
from .pcm import Encoding, Pcm, RawFormat
from .reader import AudioReader, audio_blocks, probe, read_audio
from .resampler import Resampler
from .source import AudioSource
from .targets import AudioTarget
from .writer import AudioWriter

__all__ = [
    "AudioInfo",
    "AudioReader",
    "AudioSource",
    "AudioTarget",
    "AudioWriter",
    "Encoding",
    "Framer",
    "Pcm",
    "RawFormat",
    "Resampler",
    "audio_blocks",
    "probe",
    "read_audio",
]
