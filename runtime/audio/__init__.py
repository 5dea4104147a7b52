"""Audio of files and pipes: mono float32 blocks, read and written; devices are in `live`.

Built on libsndfile and soxr. Knows nothing of models; a frame here is what `Framer` was given.
"""

from .files.reader import AudioReader, audio_blocks, check_audio, probe, read_audio
from .files.source import AudioInfo, AudioSource
from .files.writer import AudioTarget, AudioWriter
from .framer import Framer, cut_frames
from .pcm import Encoding, Pcm, RawFormat, check_samples
from .resampler import HalfBandDecimator, Resampler

__all__ = [
    "AudioInfo",
    "AudioReader",
    "AudioSource",
    "AudioTarget",
    "AudioWriter",
    "Encoding",
    "Framer",
    "HalfBandDecimator",
    "Pcm",
    "RawFormat",
    "Resampler",
    "audio_blocks",
    "check_audio",
    "check_samples",
    "cut_frames",
    "probe",
    "read_audio",
]
