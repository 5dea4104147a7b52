"""Halving a rate at once: what the lower rate can hold passes, all else is gone."""

import numpy as np
import pytest

from kyutai_onnx.runtime.audio import HalfBandDecimator

TIMES = np.arange(48000) / 48000


@pytest.mark.parametrize(
    ("hertz", "kept"), [(440, 1.0), (10000, 1.0), (14000, 0.0), (20000, 0.0)], ids=str
)
def test_halving_passes_what_the_lower_rate_can_hold_alone(hertz: int, kept: float) -> None:
    tone = np.sin(2 * np.pi * hertz * TIMES).astype(np.float32)
    halver = HalfBandDecimator()
    pieces = [halver.push(tone[at : at + 1920]) for at in range(0, len(tone), 1920)]
    assert [len(piece) for piece in pieces] == [960] * 25
    amplitude = np.sqrt(2) * np.concatenate(pieces)[200:].std()
    assert amplitude == pytest.approx(kept, abs=0.01)
