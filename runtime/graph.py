"""Graphs and the streams that run through them, from the manifest alone.

A `Graph` is the weights: loaded once, shared by threads. `Streams` are rows of state stepped
through it together; each row is a stream of its own, and one thread steps them.
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from .binding import Binding
from .bundle import Bundle, check_onnxruntime
from .errors import UsageError
from .manifest import GraphSpec, axis_extent
from .memory import Buffer, DeviceBuffer
from .placement import Placement, placement
from .ports import check_ports
from .providers import Provider, captures_graphs, load_onnxruntime, make_session
from .rings import State, check_fit, roll, unroll
from .states import StateBuffers

Array = np.ndarray[Any, Any]


class Graph:
    """A graph of a bundle, opened on a provider, with all of its outputs or those named alone.

    `seconds` is how long ONNX Runtime has run it so far, for all streams together.

    Raises ModelError where ONNX Runtime is too old, the graph unreadable or not as the manifest
    says, ProviderError where it does not open on the provider.
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
        check_ports(file, self.spec, self.session)
        self.captures = captures_graphs(self.session, provider)
        self.captures_made = count(1)
        self._thread: int | None = None
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

    def streams(self, batch: int = 1) -> "Streams":
        """`batch` streams at their beginning; raises UsageError where the batch is fixed to another
        number."""
        if self.fixed_batch not in (None, batch):
            raise UsageError(
                f"{self.name} was exported for a batch of {self.fixed_batch}, not {batch}; export "
                f"it again with '--batch {batch}' or without"
            )
        return Streams(self, batch)

    def allocate(self, name: str, shape: Sequence[int], dtype: str, initial: float = 0) -> Buffer:
        """A buffer for an input, a state or an output, where the graph has it on the provider."""
        on_host = name in self._on_host and self.provider.device != "cpu"
        if self.provider.memory == "device" and not on_host:
            return DeviceBuffer(shape, dtype, self.provider, initial)
        return Buffer(shape, dtype, initial)

    def run(self, binding: Any, options: Any) -> None:
        """Runs it on what is bound; raises UsageError where it captures CUDA graphs and another
        thread ran it before."""
        if self.captures:
            self._hold_thread()
        started = time.perf_counter()
        self.session.run_with_iobinding(binding, options)
        self.seconds += time.perf_counter() - started

    def _hold_thread(self) -> None:
        """onnxruntime captures CUDA graphs for one thread alone."""
        current = threading.get_ident()
        if self._thread not in (None, current):
            raise UsageError(
                f"{self.name} captures CUDA graphs, so one thread alone may step it; load the "
                "model once for each thread, or take the provider cuda"
            )
        self._thread = current


class Streams:
    """Rows of state, stepped together through a graph. Not for two threads at once."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph, self.batch = graph, batch
        self._states = [StateBuffers(spec, batch, graph.allocate) for spec in graph.spec.states]
        named = {state.spec.input: state for state in self._states}
        self._appended = [
            (state, named[state.spec.ring.position])
            for state in self._states
            if state.spec.carry == "append" and state.spec.ring is not None
        ]
        self._active = np.ones(batch, np.bool_)
        self._bindings: dict[int, Binding] = {}
        self._turn = 0

    def step(
        self,
        inputs: Mapping[str, Array | Buffer],
        active: Array | Sequence[bool] | None = None,
        keep: Collection[str] = (),
    ) -> dict[str, Any]:
        """Steps the active rows (all of them by default) and returns the outputs by name.

        The outputs are views of buffers that the next step with as many frames writes again; rows
        that were held are meaningless. Those named in `keep` stay where they were computed: buffers
        for another graph to read. Raises UsageError for an input that is missing or of a wrong
        shape.
        """
        missing = [port.name for port in self.graph.spec.inputs if port.name not in inputs]
        if missing:
            raise UsageError(f"{self.graph.name} takes {', '.join(missing)}, which was not given")
        binding = self._binding(self._frames(inputs))
        self._active[:] = self._rows(active)
        binding.fill(inputs, self._active)
        binding.run(self._turn)
        stepped = np.flatnonzero(self._active).tolist()
        for state, position in self._appended:
            state.append(stepped, position.buffers[self._turn].read())
        self._turn ^= 1
        return binding.outputs(keep)

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Takes rows (all by default) back to the beginning of a stream."""
        chosen = list(range(self.batch)) if rows is None else list(rows)
        for state in self._states:
            state.reset(chosen, self._turn)

    def give(self, row: int, constants: State) -> None:
        """Sets the constant states of a row, all of them; raises UsageError where they do not
        fit."""
        states = [state for state in self._states if state.spec.carry == "constant"]
        for state in states:
            if state.spec.input not in constants:
                raise UsageError(f"{self.graph.name} needs {state.spec.input}, which is not given")
            check_fit(state.spec, constants[state.spec.input].shape, state.row_shape)
        for state in states:
            state.write(row, self._turn, constants[state.spec.input])

    def save(self, row: int) -> State:
        """The whole memory of one row, to be loaded elsewhere, on another provider too."""
        whole = {state.spec.input: state.read(row, self._turn) for state in self._states}
        return {
            state.spec.input: unroll(whole[state.spec.input], state.spec, whole)
            for state in self._states
        }

    def load(self, row: int, saved: State) -> None:
        """Continues in `row` what `save` returned; raises UsageError where it does not fit, and
        leaves the row as it was."""
        for spec in self.graph.spec.states:
            if spec.input not in saved:
                raise UsageError(f"the saved state has no {spec.input}; it is of another model")
        rolled = [
            roll(saved[state.spec.input], state.spec, state.row_shape, saved)
            for state in self._states
        ]
        for state, value in zip(self._states, rolled, strict=True):
            state.write(row, self._turn, value)

    def _frames(self, inputs: Mapping[str, Array | Buffer]) -> int:
        for spec in self.graph.spec.inputs:
            for axis, extent in zip(spec.shape, inputs[spec.name].shape, strict=False):
                if isinstance(axis, str) and axis.endswith("frames"):
                    return self._allowed(int(extent) // axis_extent(axis, 1, 1))
        return 1

    def _allowed(self, frames: int) -> int:
        most = self.graph.spec.max_frames
        if not 1 <= frames <= most:
            raise UsageError(f"{frames} frames in one call of {self.graph.name}: 1 to {most}")
        return frames

    def _rows(self, active: Array | Sequence[bool] | None) -> Array:
        rows = np.ones(self.batch, np.bool_) if active is None else np.asarray(active)
        if rows.shape != (self.batch,):
            raise UsageError(f"active has shape {rows.shape}, ({self.batch},) expected")
        return rows

    def _binding(self, frames: int) -> Binding:
        if frames not in self._bindings:
            self._bindings[frames] = Binding(self.graph, self.batch, frames, self._states)
        return self._bindings[frames]
