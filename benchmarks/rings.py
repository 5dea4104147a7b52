"""Streams whose rings are full: what a step costs after hours, without waiting for hours."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kyutai_onnx.models import Mimi, SpeechToText
from kyutai_onnx.models.generation import Generator
from kyutai_onnx.models.mimi_stream import DecoderStream, EncoderStream
from kyutai_onnx.models.speech_to_text_stream import SpeechToTextStream
from kyutai_onnx.runtime.graph import Graph

LATE = 100_000
"""Steps that the stream counts as behind it."""


def full_stream(model: SpeechToText, seed: int = 0) -> SpeechToTextStream:
    """A stream in which every ring of the codec and of the language model is full of noise."""
    noise = np.random.default_rng(seed)
    stream = model.stream()
    saved = stream.save()
    fill_rings(saved["encoder"]["graph"], model.mimi.open("encode").graphs, noise)
    fill_rings(saved["generator"]["temporal"], [model.language_model.temporal], noise)
    stream.load(saved)
    return stream


def full_codec(mimi: Mimi, codebooks: int, seed: int = 0) -> tuple[EncoderStream, DecoderStream]:
    """Both directions of the codec, after hours."""
    noise = np.random.default_rng(seed)
    encoder, decoder = mimi.stream("encode", codebooks), mimi.stream("decode")
    for stream, graphs in (
        (encoder, mimi.open("encode").graphs),
        (decoder, mimi.open("decode").graphs),
    ):
        saved = stream.save()
        fill_rings(saved["graph"], graphs, noise)
        stream.load(saved)
    return encoder, decoder


def fill_generator(generator: Generator, row: int = 0, seed: int = 0) -> None:
    """A row of a generator, after hours."""
    saved = generator.save(row)
    noise = np.random.default_rng(seed)
    fill_rings(saved["temporal"], [generator.model.temporal], noise)
    saved["cache"]["offset"] = LATE
    saved["cache"]["tokens"][:] = 0
    generator.load(row, saved)


def fill_rings(states: dict[str, Any], graphs: Iterable[Graph], noise: np.random.Generator) -> None:
    """Replaces the saved rings of one row by full ones and moves their positions on."""
    for spec in (spec for graph in graphs for spec in graph.spec.states):
        if spec.ring is not None:
            shape = spec.shape[1:]
            states[spec.input] = noise.standard_normal(shape).astype(spec.dtype) * 0.1
            states[spec.ring.position] = np.asarray(LATE, np.int64)
