"""Benchmark of a frame: a model of any family, stepped with full KV caches and timed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import UsageError
from ..runtime.graph.batch_state import PipelineState
from ..runtime.graph.graph import Graph, GraphPipeline
from ..runtime.providers.provider import choose
from ..runtime.typing import Array
from .lm.generation import Generator
from .lm.language_model import Guidance, LanguageModel, SamplingParams
from .mimi.model import Mimi

WARM_UP = 2
LATE = 100_000
"""Steps that a stream counts as behind it."""
LOUDNESS = 0.1


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """Seconds of each timed frame, float64 `[frames]`, of all streams together: in all, and of each
    graph by its name. `frame_seconds` is the time that one frame stands for."""

    total: Array
    graphs: dict[str, Array]
    streams: int
    frame_seconds: float

    @cached_property
    def median(self) -> float:
        return float(np.median(self.total))

    @cached_property
    def p99(self) -> float:
        return float(np.percentile(self.total, 99))

    @property
    def medians(self) -> dict[str, float]:
        """Seconds of each graph."""
        return {name: float(np.median(values)) for name, values in self.graphs.items()}

    @property
    def times_real_time(self) -> float:
        """Seconds of audio by seconds of computing, all streams together."""
        return self.streams * self.frame_seconds / self.median

    @property
    def rest(self) -> float:
        """The median outside of all graphs, in seconds."""
        return float(np.median(self.total - sum(self.graphs.values())))


class FrameBenchmark:
    """Streams side by side, stepped in one thread: encoders read noise, tokens are sampled as the
    bundle says.

    A codec is stepped in both directions. `codebooks` makes only so many of each frame of speech;
    `guided` doubles the rows of the language model, as guidance does; a codec alone is given
    `frames` a call. `load_seconds` is what opening the graphs took, `first_seconds` the first call.

    Raises what loading the bundle raises, UsageError for a batch that it was not exported for.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
        batch: int = 1,
        codebooks: int | None = None,
        guided: bool = False,
        frames: int = 1,
    ) -> None:
        started = time.perf_counter()
        self.bundle, self.batch, self.threads = bundle, batch, threads
        self.frames = frames
        self.provider = choose(provider, bundle.manifest.target, allow_fallback=allow_fallback).name
        self._noise = np.random.default_rng(0)
        mimi = Mimi(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)
        self.model: LanguageModel | None = None
        if bundle.manifest.lm is not None:
            self.model = LanguageModel(
                bundle,
                provider=provider,
                threads=threads,
                allow_fallback=allow_fallback,
                codebooks=codebooks,
            )
        elif codebooks is not None or guided:
            raise UsageError("a codec alone makes no speech: leave out codebooks and guidance")
        if frames > 1 and self.model is not None:
            raise UsageError("a language model is stepped a frame at a time")
        encodes, decodes = self._directions()
        self._encoder = mimi.open("encode") if encodes else None
        self._decoder = mimi.open("decode") if decodes else None
        self.load_seconds = time.perf_counter() - started
        self._encoded = self._begin(self._encoder)
        self._decoded = self._begin(self._decoder)
        self._generator = self._generate(guided) if self.model is not None else None
        started = time.perf_counter()
        self.step()
        self.first_seconds = time.perf_counter() - started

    def time(self, frames: int) -> FrameTimes:
        """Steps so many frames, after a few that are not counted."""
        for _ in range(WARM_UP):
            self.step()
        timed = [self.timed_step() for _ in range(frames)]
        total = np.array([parts.pop("frame") for parts in timed])
        graphs = {name: np.array([parts[name] for parts in timed]) for name in timed[0]}
        return FrameTimes(total, graphs, self.batch, 1 / self.bundle.manifest.audio.frame_rate)

    def timed_step(self) -> dict[str, float]:
        """One call for every stream: seconds a frame of each graph, and of all as `frame`."""
        graphs = self.graphs()
        before = [graph.seconds for graph in graphs]
        started = time.perf_counter()
        self.step()
        whole = time.perf_counter() - started
        spent = {
            graph.name: graph.seconds - seconds
            for graph, seconds in zip(graphs, before, strict=True)
        }
        return {name: taken / self.frames for name, taken in {**spent, "frame": whole}.items()}

    def step(self) -> None:
        """One call for every stream."""
        codes = self._encode()
        if self._generator is not None:
            assert self.model is not None
            read = self.model.spec.n_q - self.model.spec.dep_q
            codes = self._generator.step(codes[:, :read, 0]).frame[:, 1:, None]
        if self._decoded is not None:
            self._decoded.step({"codes": self._whole(codes)})

    def _directions(self) -> tuple[bool, bool]:
        """Whether frames are encoded, and whether they are decoded."""
        codec = self.bundle.manifest.codec
        if self.model is None:
            return True, bool(codec.decoder)
        return self.model.exported_codebooks < self.model.spec.n_q, self.model.spec.dep_q > 0

    def _begin(self, chain: GraphPipeline | None) -> PipelineState | None:
        if chain is None:
            return None
        rows = PipelineState(chain, self.batch)
        _fill_codec(rows, chain.graphs)
        full = rows.save(0)
        for row in range(1, self.batch):
            rows.load(row, full)
        return rows

    def _generate(self, guided: bool) -> Generator:
        assert self.model is not None
        sampling = self.bundle.manifest.sampling
        assert sampling is not None
        generator = Generator(self.model, self.batch, guided=guided)
        conditions = self.model.condition()
        guidance = Guidance(2.0, null=conditions) if guided else None
        chosen = [
            SamplingParams(
                sampling.temp, sampling.temp_text, sampling.top_k, sampling.top_k_text, seed=row
            )
            for row in range(self.batch)
        ]
        generator.begin(0, chosen[0], conditions=conditions, guidance=guidance)
        _fill_generator(generator)
        full = generator.save(0)
        for row in range(1, self.batch):
            generator.load(row, full, sampling=chosen[row])
        return generator

    def _encode(self) -> Array:
        """Codes `[batch, codebooks, frames]` of noise."""
        codes = np.zeros((self.batch, self.bundle.manifest.codec.codebooks, self.frames), np.int64)
        if self._encoded is None:
            return codes
        shape = (self.batch, 1, self.frames * self.bundle.manifest.audio.frame_size)
        pcm = self._noise.standard_normal(shape, np.float32) * np.float32(LOUDNESS)
        encoded: Array = self._encoded.step({"pcm": pcm})["codes"]
        return encoded

    def _whole(self, codes: Array) -> Array:
        """Codes `[batch, codebooks, frames]` as the decoder takes them: filled up with none."""
        codec = self.bundle.manifest.codec
        whole = np.full((self.batch, codec.codebooks, self.frames), -1, np.int64)
        whole[:, : codes.shape[1]] = np.clip(codes, 0, codec.cardinality - 1)
        return whole

    def graphs(self) -> list[Graph]:
        found = [] if self._encoder is None else [*self._encoder.graphs]
        if self.model is not None:
            found += [self.model.temporal] + ([self.model.depth] if self.model.depth else [])
        return found + ([] if self._decoder is None else [*self._decoder.graphs])


def _fill_codec(rows: PipelineState, graphs: Iterable[Graph]) -> None:
    """Put the first row of an encoder or decoder hours into its stream."""
    saved = rows.save(0)
    fill_kv_caches(saved, graphs, np.random.default_rng(0))
    rows.load(0, saved)


def _fill_generator(generator: Generator) -> None:
    """Put the first row of a generator, and its null row, hours into their stream."""
    saved = generator.save(0)
    noise = np.random.default_rng(0)
    for part in (saved, saved["guidance"]):
        if part is not None:
            fill_kv_caches(part["transformer"], [generator.model.temporal], noise)
    saved["delays"]["step"] = LATE
    saved["delays"]["tokens"][:] = 0
    generator.load(0, saved)


def fill_kv_caches(
    states: dict[str, Any], graphs: Iterable[Graph], noise: np.random.Generator
) -> None:
    """Fill the KV caches in the graph state of one row with noise, at step `LATE`."""
    for spec in (spec for graph in graphs for spec in graph.spec.states):
        if spec.ring is not None:
            shape = [int(axis) for axis in spec.shape[1:]]
            shape[spec.ring.axis - 1] = spec.capacity
            entries = noise.standard_normal(shape) * (30 if spec.dtype == "int8" else 0.1)
            states[spec.input] = entries.astype(spec.dtype)
            states[spec.ring.position] = np.asarray(LATE, np.int64)
