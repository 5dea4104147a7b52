"""Audio of files, pipes and devices: mono float32 blocks, read, written, heard and played.

Built on libsndfile, soxr and, for devices alone, PortAudio. Knows nothing of models; a
frame here is what `Framer` was told.
"""

from .clock import Clock, WallClock
from .devices import Device
from .framer import Framer
from .info import AudioInfo
from .live import LiveSound
from .meter import Meter
from .microphone import Frame
from .pcm import Encoding, Pcm, RawFormat, check_samples
from .reader import AudioReader, audio_blocks, probe, read_audio
from .resampler import Resampler
from .sound_card import SoundCard
from .source import AudioSource
from .targets import AudioTarget
from .writer import AudioWriter

__all__ = [
    "AudioInfo",
    "AudioReader",
    "AudioSource",
    "AudioTarget",
    "AudioWriter",
    "Clock",
    "Device",
    "Encoding",
    "Frame",
    "Framer",
    "LiveSound",
    "Meter",
    "Pcm",
    "RawFormat",
    "Resampler",
    "SoundCard",
    "WallClock",
    "audio_blocks",
    "check_samples",
    "probe",
    "read_audio",
]
