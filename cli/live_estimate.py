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
    Measured("stt-1b-en_fr", "int8", 44.2, 29),
    Measured("stt-1b-en_fr", "int4", 31.8, 29),
    Measured("stt-2.6b-en", "int8", 95.5, 28),
    Measured("stt-2.6b-en", "int4", 67.0, 28),
    Measured("hibiki-1b", "int8", 92.0, 29),
    Measured("hibiki-1b", "int4", 79.3, 29),
    Measured("tts-1.6b-en_fr", "int8", 101.9, 30),
    Measured("tts-1.6b-en_fr", "int4", 81.3, 30),
    Measured("moshi-7b", "int4", 291.0, 26),
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
