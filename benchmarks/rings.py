"""Streams whose rings are full: what a step costs after hours, without waiting for hours."""

from typing import Any

import numpy as np

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.speech_to_text_stream import SpeechToTextStream

LATE = 100_000
"""Steps that the stream counts as behind it."""


def full_stream(model: SpeechToText, seed: int = 0) -> SpeechToTextStream:
    """A stream in which every ring of the codec and of the language model is full of noise."""
    noise = np.random.default_rng(seed)
    stream = model.stream()
    saved = stream.save()
    for part, graphs in (
        ("encoder", model.mimi.open("encode").graphs),
        ("temporal", [model.lm.temporal]),
    ):
        states = saved[part]["graph"] if part == "encoder" else saved[part]
        for graph in graphs:
            fill_rings(states, graph.spec.states, noise)
    stream.load(saved)
    return stream


def fill_rings(states: dict[str, Any], specs: Any, noise: np.random.Generator) -> None:
    """Replaces the saved rings of one row by full ones and moves their positions on."""
    for spec in specs:
        if spec.ring is not None:
            shape = spec.shape[1:]
            states[spec.input] = noise.standard_normal(shape).astype(spec.dtype) * 0.1
            states[spec.ring.position] = np.asarray(LATE, np.int64)
