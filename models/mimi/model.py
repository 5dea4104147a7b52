"""Mimi, the codec: speech to codes, one column a frame, and back; at once or as a stream."""

import os
import threading
from collections.abc import Sequence
from typing import Literal, Self, overload

import numpy as np

from ...runtime.audio import AudioSource, Pcm, audio_blocks
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.manifest import GraphSpec
from ...runtime.errors import UsageError
from ...runtime.graph.batch_state import PipelineState
from ...runtime.graph.graph import GraphPipeline
from ...runtime.providers.provider import Provider, choose
from ...runtime.typing import Array, Codes
from ..families import MIMI
from ..resolve import Wanted, open_bundle
from .stream import DecoderStream, EncoderStream

Direction = Literal["encode", "decode"]
Key = tuple[str, int | None, tuple[tuple[GraphSpec, tuple[str, ...]], ...]]


class CodecCache:
    """Graphs of codecs, opened once for all models that have the same: the same file need not be in
    memory twice. May be shared by threads."""

    def __init__(self) -> None:
        self._chains: dict[Key, GraphPipeline] = {}
        self._opening = threading.Lock()

    def open(
        self, bundle: Bundle, names: Sequence[str], provider: Provider, threads: int | None
    ) -> GraphPipeline:
        """A chain of a bundle's graphs, or that of another one whose files have the same hashes."""
        graphs = tuple((bundle.graph(name), _hashes(bundle, name)) for name in names)
        key = provider.name, threads, graphs
        with self._opening:
            if key not in self._chains:
                self._chains[key] = GraphPipeline(bundle, names, provider, threads)
            return self._chains[key]


def _hashes(bundle: Bundle, name: str) -> tuple[str, ...]:
    spec, files = bundle.graph(name), bundle.manifest.files
    return tuple(files[file].sha256 for file in (spec.file, spec.data) if file is not None)


class Mimi:
    """A codec, loaded. May be shared by threads; each of its streams belongs to one at a time.

    `sample_rate` is in Hz, `frame_rate` in frames a second, `frame_size` in samples.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
        codecs: CodecCache | None = None,
    ) -> None:
        audio, codec = bundle.manifest.audio, bundle.manifest.codec
        self.bundle = bundle
        self.sample_rate = audio.sample_rate
        self.frame_rate = audio.frame_rate
        self.frame_size = audio.frame_size
        self.codebooks = codec.codebooks
        self.cardinality = codec.cardinality
        self._provider = choose(provider, bundle.manifest.target, allow_fallback=allow_fallback)
        self._threads = threads
        self._codecs = CodecCache() if codecs is None else codecs

    def __repr__(self) -> str:
        return (
            f"Mimi({self.bundle.manifest.name!r}, codebooks={self.codebooks}, "
            f"provider={self._provider.name!r}, sample_rate={self.sample_rate})"
        )

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | Bundle | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> Self:
        """Load the codec of a bundle of any family: a folder, a repository such as
        `kyutai/mimi`, or `hf://owner/name`; the embedded demo's by default.

        Raises ModelError for a bundle that is missing or damaged, ProviderError if it cannot
        run.
        """
        bundle = open_bundle(model, MIMI, Wanted(provider=provider))
        return cls(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)

    def encode(
        self,
        audio: Array | bytes | AudioSource,
        codebooks: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> Codes:
        """Encode a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        Returns codes `[codebooks, frames]`; the last frame is filled with silence.
        """
        stream = self.stream("encode", codebooks)
        blocks = audio_blocks(audio, self.sample_rate, source_rate=sample_rate)
        codes = [stream.feed(block) for block in blocks]
        return np.concatenate([*codes, stream.flush()], axis=1)

    def decode(self, codes: Codes) -> Pcm:
        """Decode codes `[codebooks, frames]` to samples `[frames * frame_size]`."""
        return self.stream("decode").feed(codes)

    @overload
    def stream(
        self, direction: Literal["encode"] = "encode", codebooks: int | None = None
    ) -> EncoderStream: ...
    @overload
    def stream(self, direction: Literal["decode"]) -> DecoderStream: ...

    def stream(
        self, direction: Direction = "encode", codebooks: int | None = None
    ) -> EncoderStream | DecoderStream:
        """An independent stream: `feed` takes samples and returns codes, or the reverse.

        `codebooks` makes only the first ones. Raises UsageError if the bundle lacks the
        direction or so many codebooks.
        """
        if direction == "decode":
            return DecoderStream(self.bundle, self.open("decode"))
        chosen = self.codebooks if codebooks is None else codebooks
        if not 1 <= chosen <= self.codebooks:
            raise UsageError(
                f"{chosen} codebooks: this bundle makes 1 to {self.codebooks}; for more, export "
                "it again with '--codebooks'"
            )
        return EncoderStream(self.bundle, self.open("encode"), chosen)

    def open(self, direction: Direction) -> GraphPipeline:
        """The graphs of one direction, opened at the first use."""
        codec = self.bundle.manifest.codec
        names = codec.encoder if direction == "encode" else codec.decoder
        if not names:
            raise UsageError(
                f"{self.bundle.path} has no {direction}r; export it again with '--decoder', or "
                "use a bundle of kyutai/mimi"
            )
        return self._codecs.open(self.bundle, names, self._provider, self._threads)

    def batch_state(self, direction: Direction, batch: int) -> PipelineState:
        """Rows of one direction at their beginning."""
        return PipelineState(self.open(direction), batch)
