"""Graphs of a bundle, opened on a provider by the manifest: one, or several that run as one.

A `Graph` is the weights: loaded once, shared by threads. `BatchState` is rows of state that are
stepped through it together, `PipelineState` those of a `GraphPipeline`.
"""

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from ..bundle.bundle import Bundle, check_onnxruntime
from ..bundle.manifest import GraphSpec, StateSpec, check_graph_io
from ..errors import UsageError
from ..providers.provider import (
    Placement,
    Provider,
    captures_graphs,
    choose_for_graph,
    load_onnxruntime,
    make_session,
    placement,
)
from .buffers import Buffer, DeviceBuffer


class Graph:
    """A graph of a bundle, opened on a provider, with all of its outputs or only those named.

    `seconds` is how long ONNX Runtime has run it so far, in all threads together.

    Raises ModelError if ONNX Runtime is too old, or the graph unreadable or not as the manifest
    says; ProviderError if it does not open on the provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        provider: Provider,
        threads: int | None = None,
        outputs: Collection[str] | None = None,
    ) -> None:
        self.name, self.seconds = name, 0.0
        self.spec: GraphSpec = bundle.graph(name)
        if outputs is not None:
            kept = tuple(port for port in self.spec.outputs if port.name in outputs)
            self.spec = replace(self.spec, outputs=kept)
            outputs = {*outputs, *(s.output for s in self.spec.states if s.output is not None)}
        self.provider = provider
        check_onnxruntime(bundle, load_onnxruntime().__version__)
        file = bundle.file(self.spec.file)
        self.session = make_session(file, provider, threads, outputs)
        check_graph_io(file, self.spec, self.session)
        self.captures = captures_graphs(self.session, provider)
        self.captures_made = count(1)
        self._thread: int | None = None
        self._timing = threading.Lock()
        ports = zip(self.session.get_inputs(), self.session.get_input_memory_infos(), strict=True)
        self._on_host = {port.name for port, memory in ports if memory.name == "Cpu"}

    @property
    def placement(self) -> Placement:
        """How many nodes of which operator each execution provider runs."""
        return placement(self.session)

    @property
    def fixed_batch(self) -> int | None:
        """The number of rows that the graph was exported for, if it was fixed."""
        axis = self.spec.active.shape[0]
        return axis if isinstance(axis, int) else None

    @property
    def narrows(self) -> bool:
        """Whether it may run over the first rows only: parts of memory that numpy shares, in any
        number, at addresses that are not captured."""
        fixed = self.fixed_batch is not None or self.captures
        return not fixed and self.provider.memory != "device"

    def allocate(self, name: str, shape: Sequence[int], dtype: str, initial: float = 0) -> Buffer:
        """A buffer for an input, a state or an output, on the device where the graph has it."""
        on_host = name in self._on_host and self.provider.device != "cpu"
        if self.provider.memory == "device" and not on_host:
            return DeviceBuffer(shape, dtype, self.provider, initial)
        return Buffer(shape, dtype, initial)

    def run(self, binding: Any, options: Any) -> None:
        """Runs it on what is bound; raises UsageError if it captures CUDA graphs and another thread
        ran it before."""
        if self.captures:
            self._hold_thread()
        started = time.perf_counter()
        self.session.run_with_iobinding(binding, options)
        elapsed = time.perf_counter() - started
        with self._timing:
            self.seconds += elapsed

    def _hold_thread(self) -> None:
        """onnxruntime captures CUDA graphs for one thread only."""
        current = threading.get_ident()
        if self._thread not in (None, current):
            raise UsageError(
                f"{self.name} captures CUDA graphs, so only one thread may step it; load the "
                "model once for each thread, or use the provider cuda"
            )
        self._thread = current


def open_graph(
    bundle: Bundle,
    name: str,
    provider: Provider,
    threads: int | None = None,
    outputs: Collection[str] | None = None,
) -> Graph:
    """Opens a graph on the provider, or on the one that `choose_for_graph` takes instead."""
    chosen = choose_for_graph(bundle.graph(name), provider, bundle.manifest.target)
    return Graph(bundle, name, chosen, threads, outputs)


class GraphPipeline:
    """Graphs that run one after the other as one: the outputs of each are the inputs of the next.
    Shared by threads as a `Graph` is."""

    def __init__(
        self,
        bundle: Bundle,
        names: Sequence[str],
        provider: Provider,
        threads: int | None = None,
    ) -> None:
        self.graphs = [open_graph(bundle, name, provider, threads) for name in names]

    @property
    def max_frames(self) -> int:
        """Frames that one call may bring."""
        return min(graph.spec.max_frames for graph in self.graphs)

    @property
    def states(self) -> list[StateSpec]:
        """States of all its graphs."""
        return [spec for graph in self.graphs for spec in graph.spec.states]
