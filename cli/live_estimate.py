"""Which of Kyutai's models a machine runs live, from the speed at which it reads memory.

A frame costs what reading its weights costs (docs/performance.md), so the times that were measured
on one machine are scaled by how much faster or slower memory is read on another. `bench` measures.
"""

from dataclasses import dataclass

FRAME_MS = 80.0


@dataclass(frozen=True)
class Measured:
    """Milliseconds a frame on two processors that read memory at so many GB/s."""

    model: str
    precision: str
    frame_ms: float
    read: float


MEASURED = (
    Measured("stt-1b-en_fr", "int8", 55.2, 32),
    Measured("stt-1b-en_fr", "int4", 37.3, 32),
    Measured("stt-2.6b-en", "int8", 116.8, 34),
    Measured("stt-2.6b-en", "int4", 77.8, 34),
    Measured("hibiki-1b", "int8", 103.6, 34),
    Measured("hibiki-1b", "int4", 68.9, 34),
    Measured("tts-1.6b-en_fr", "int8", 121.3, 46),
    Measured("tts-1.6b-en_fr", "int4", 89.6, 46),
)
"""From docs/performance.md, as it stands there."""


def estimates(read_bandwidth: float) -> dict[str, dict[str, float]]:
    """How many times real time each model in each precision runs where memory is read at so many
    bytes a second."""
    found: dict[str, dict[str, float]] = {}
    for entry in MEASURED:
        frame_ms = entry.frame_ms * entry.read * 1e9 / read_bandwidth
        found.setdefault(entry.model, {})[entry.precision] = round(FRAME_MS / frame_ms, 2)
    return found
