"""Graphs of codecs, opened once for all models that have the same: the same file need not be in
memory twice."""

import threading
from collections.abc import Sequence

from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.manifest import GraphSpec
from ...runtime.graph.pipeline import GraphPipeline
from ...runtime.providers.provider import Provider

Key = tuple[str, int | None, tuple[tuple[GraphSpec, tuple[str, ...]], ...]]


class CodecCache:
    """May be shared by threads."""

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
