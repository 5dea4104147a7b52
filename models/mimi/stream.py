"""Streams of the codec: one for encoding, one for decoding, alike in what they offer."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...runtime.audio import Framer, Pcm, check_samples
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import UsageError
from ...runtime.exclusive import Exclusive, exclusive
from ...runtime.graph.batch_state import PipelineState
from ...runtime.graph.graph import GraphPipeline
from ...runtime.typing import Array, Codes
from ..stream_state import GraphState, Record, Tensor, check_state, state_header

ENCODER, DECODER = "mimi-encoder", "mimi-decoder"
"""What saved streams are called."""


class EncoderStream:
    """Samples in, codes out, as soon as a frame is complete."""

    def __init__(self, bundle: Bundle, chain: GraphPipeline, codebooks: int) -> None:
        self._exclusive = Exclusive()
        self._bundle, self._chain, self._codebooks = bundle, chain, codebooks
        self._frame_size = bundle.manifest.audio.frame_size
        self._framer = Framer(self._frame_size)
        self._rows = PipelineState(chain)

    @exclusive
    def feed(self, pcm: Pcm) -> Codes:
        """Take float32 `[n]`, any n; returns codes int64 `[codebooks, frames]`, maybe none. Raises
        UsageError for samples that are no audio."""
        check_samples(pcm)
        return self.encode(self._framer.push(pcm))

    @exclusive
    def flush(self) -> Codes:
        """The codes of what is left, filled with silence to a frame."""
        return self.encode(self._framer.flush(pad=True))

    @exclusive
    def encode(self, frames: Pcm) -> Codes:
        """Codes `[codebooks, n]` of whole frames `[n, frame_size]`; raises as `feed` does."""
        if frames.ndim != 2 or frames.shape[1] != self._frame_size:
            shape = list(frames.shape)
            raise UsageError(f"frames have the shape {shape}, [n, {self._frame_size}] expected")
        check_samples(frames.reshape(-1))
        codes = [self._step(part) for part in _parts(frames, self._chain.max_frames)]
        if not codes:
            return np.empty((self._codebooks, 0), np.int64)
        return np.concatenate(codes, axis=1)

    @exclusive
    def reset(self) -> None:
        """Start over, as a new stream would."""
        self._framer.reset()
        self._rows.reset()

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        pending = self._framer.waiting.copy()
        return {
            **state_header(self._bundle, ENCODER),
            "partial_frame": pending,
            "encoder": self._rows.save(0),
        }

    @exclusive
    def load(self, saved: dict[str, Any]) -> None:
        """Continue where a saved stream stood.

        Raises UsageError if it is of another model, ModelError if it is damaged or of a version
        that this program does not read; then this stream is as it was.
        """
        partial = Tensor("float32", ("samples",))
        part = Record({"partial_frame": partial, "encoder": GraphState(self._chain.states)})
        saved = check_state(saved, self._bundle, ENCODER, part)
        self._framer.reset()
        self._framer.push(saved["partial_frame"])
        self._rows.load(0, saved["encoder"])

    def _step(self, frames: Pcm) -> Codes:
        outputs = self._rows.step({"pcm": frames.reshape(1, 1, -1)})
        codes: Codes = outputs["codes"][0, : self._codebooks].copy()
        return codes


class DecoderStream:
    """Codes in, samples out."""

    def __init__(self, bundle: Bundle, chain: GraphPipeline) -> None:
        self._exclusive = Exclusive()
        self._bundle, self._chain = bundle, chain
        self._codec = bundle.manifest.codec
        self._rows = PipelineState(chain)

    @exclusive
    def feed(self, codes: Codes) -> Pcm:
        """Take codes `[codebooks, n]`, any n, the first ones if fewer than the bundle has; returns
        float32 `[n * frame_size]`. Raises UsageError for codes out of range."""
        codes = np.asarray(codes)
        self.check(codes)
        full = np.full((self._codec.codebooks, codes.shape[1]), -1, np.int64)
        full[: len(codes)] = codes
        pcm = [self._step(part.T) for part in _parts(full.T, self._chain.max_frames)]
        return np.concatenate(pcm) if pcm else np.empty(0, np.float32)

    def flush(self) -> Pcm:
        """Nothing is held back: an empty array."""
        return np.empty(0, np.float32)

    @exclusive
    def reset(self) -> None:
        """Start over, as a new stream would."""
        self._rows.reset()

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {**state_header(self._bundle, DECODER), "decoder": self._rows.save(0)}

    @exclusive
    def load(self, saved: dict[str, Any]) -> None:
        """Continue where a saved stream stood; raises as `EncoderStream.load`."""
        part = Record({"decoder": GraphState(self._chain.states)})
        saved = check_state(saved, self._bundle, DECODER, part)
        self._rows.load(0, saved["decoder"])

    def check(self, codes: Codes) -> None:
        """Raise UsageError for codes that this codec cannot decode."""
        most, cardinality = self._codec.codebooks, self._codec.cardinality
        if codes.ndim != 2 or not 1 <= len(codes) <= most:
            raise UsageError(f"codes have shape {codes.shape}, [1 to {most}, frames] expected")
        if not np.issubdtype(codes.dtype, np.integer):
            raise UsageError(f"codes are {codes.dtype}, integers expected")
        if codes.size and not (codes.min() >= 0 and codes.max() < cardinality):
            raise UsageError(
                f"codes from {codes.min()} to {codes.max()}, 0 to {cardinality - 1} expected"
            )

    def _step(self, codes: Codes) -> Pcm:
        pcm: Pcm = self._rows.step({"codes": codes[None]})["pcm"][0, 0].copy()
        return pcm


def _parts(items: Array, most: int) -> Iterator[Array]:
    return (items[start : start + most] for start in range(0, len(items), most))
