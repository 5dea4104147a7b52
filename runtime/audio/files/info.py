"""What is known of a piece of audio before it is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioInfo:
    """Rate in Hz, channels, length in samples per channel (None where only the end will tell)."""

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    """Container and encoding, for example "WAV PCM_16" or "OGG OPUS"."""

    @property
    def duration(self) -> float | None:
        """Length in seconds, None where unknown."""
        return None if self.frames is None else self.frames / self.sample_rate
