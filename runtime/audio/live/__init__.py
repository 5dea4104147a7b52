"""Live audio: microphones and output devices by PortAudio, and the clock and meter of a loop."""

from .capture import Frame
from .clock import Clock, WallClock
from .devices import Device
from .live_sound import LiveSound
from .meter import Meter
from .sound_card import SoundCard

__all__ = ["Clock", "Device", "Frame", "LiveSound", "Meter", "SoundCard", "WallClock"]
