"""Graphs and the streams that run through them, from the manifest alone.

A `Graph` is the weights: loaded once, shared by threads. `Streams` are rows of state stepped
through it together; each row is a stream of its own, and one thread steps them.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .bundle import Bundle, check_onnxruntime
from .errors import UsageError
from .manifest import GraphSpec, StateSpec, TensorSpec, axis_extent
from .ports import check_ports
from .providers import Provider, load_onnxruntime, make_session
from .rings import State, check_fit, roll, unroll

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


class Streams:
    """Rows of state, stepped together through a graph. Not for two threads at once."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph, self.batch = graph, batch
        self._states = [_StateBuffers(spec, batch, graph.provider) for spec in graph.spec.states]
        named = {state.spec.input: state for state in self._states}
        self._appended = [
            (state, named[state.spec.ring.position])
            for state in self._states
            if state.spec.carry == "append" and state.spec.ring is not None
        ]
        self._active = np.ones(batch, np.bool_)
        self._bindings: dict[int, _Binding] = {}
        self._turn = 0
        self.reset()

    def step(
        self, inputs: Mapping[str, Array], active: Array | Sequence[bool] | None = None
    ) -> dict[str, Array]:
        """Steps the active rows (all of them by default) and returns the outputs by name.

        The outputs are views of buffers that the next step with as many frames writes again; rows
        that were held are meaningless. Raises UsageError for an input that is missing or of a
        wrong shape.
        """
        missing = [port.name for port in self.graph.spec.inputs if port.name not in inputs]
        if missing:
            raise UsageError(f"{self.graph.name} takes {', '.join(missing)}, which was not given")
        binding = self._binding(self._frames(inputs))
        self._active[:] = self._rows(active)
        binding.fill(inputs, self._active)
        binding.run(self._turn)
        stepped = np.flatnonzero(self._active)
        for state, position in self._appended:
            state.append(stepped, position.read(slice(None), self._turn))
        self._turn ^= 1
        return binding.outputs

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

    def _frames(self, inputs: Mapping[str, Array]) -> int:
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

    def _binding(self, frames: int) -> "_Binding":
        if frames not in self._bindings:
            self._bindings[frames] = _Binding(self.graph, self.batch, frames, self._states)
        return self._bindings[frames]


class _Binding:
    """Buffers for one number of frames, bound once for each of the two turns of the states."""

    def __init__(
        self, graph: Graph, batch: int, frames: int, states: Sequence["_StateBuffers"]
    ) -> None:
        spec = graph.spec
        self._graph, self._states = graph, states
        self.inputs = {port.name: _allocate(port, batch, frames) for port in spec.inputs}
        self.active = _allocate(spec.active, batch, frames)
        self.outputs = {port.name: _allocate(port, batch, frames) for port in spec.outputs}
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy
        fed = {**self.inputs, spec.active.name: self.active}
        self._fed = {name: value(buffer) for name, buffer in fed.items()}
        self._turns = [self._bind(turn) for turn in (0, 1)]

    def fill(self, inputs: Mapping[str, Array], active: Array) -> None:
        for name, buffer in self.inputs.items():
            value = inputs[name]
            if value.shape != buffer.shape:
                raise UsageError(f"{name} has shape {value.shape}, {buffer.shape} expected")
            buffer[...] = value
        self.active[...] = active.reshape(-1, *[1] * (self.active.ndim - 1))

    def run(self, turn: int) -> None:
        binding = self._turns[turn]
        if self._graph.provider.copies_inputs:
            self._bind_inputs(binding, turn)
        started = time.perf_counter()
        self._graph.session.run_with_iobinding(binding)
        self._graph.seconds += time.perf_counter() - started

    def _bind(self, turn: int) -> Any:
        binding = self._graph.session.io_binding()
        self._bind_inputs(binding, turn)
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy
        for name, buffer in self.outputs.items():
            binding.bind_ortvalue_output(name, value(buffer))
        for state in self._states:
            if state.spec.output is not None:
                binding.bind_ortvalue_output(state.spec.output, state.values[turn ^ 1])
        return binding

    def _bind_inputs(self, binding: Any, turn: int) -> None:
        for name, value in self._fed.items():
            binding.bind_ortvalue_input(name, value)
        for state in self._states:
            binding.bind_ortvalue_input(state.spec.input, state.values[turn])


class _StateBuffers:
    """A state's memory, on the provider's device: one buffer where the graph may update it in
    place or never does, else two that take turns."""

    def __init__(self, spec: StateSpec, batch: int, provider: Provider) -> None:
        self.spec, self._device = spec, provider.device
        shape = [axis_extent(axis, batch, 1) for axis in spec.shape]
        self.row_shape = tuple(shape[1:])
        self._arrays: list[Array] = []
        first = self._make(shape)
        self.values = [first, self._make(shape) if spec.carry == "replace" else first]

    def _make(self, shape: list[int]) -> Any:
        array = np.full(shape, self.spec.initial, self.spec.dtype)
        self._arrays.append(array)
        arguments = () if self._device == "cpu" else (self._device, 0)
        return load_onnxruntime().OrtValue.ortvalue_from_numpy(array, *arguments)

    def reset(self, rows: Sequence[int], turn: int) -> None:
        """Rings keep what they hold: without their position it is never read. Constants stay."""
        if self.spec.ring is None and self.spec.carry != "constant":
            self._change(rows, turn, np.asarray(self.spec.initial, self.spec.dtype))

    def read(self, row: int | slice, turn: int) -> Array:
        return np.array(self._on_host(turn)[row])

    def append(self, rows: Array, positions: Array) -> None:
        """Moves the entries behind the rings of rows to their slots."""
        assert self.spec.ring is not None
        array, capacity = self._on_host(0), self.spec.capacity
        slots = np.moveaxis(array, self.spec.ring.axis, 1)
        for row in rows:
            slots[row, positions[row] % capacity] = slots[row, capacity]
        if self._device != "cpu":
            self.values[0].update_inplace(array)

    def write(self, row: int, turn: int, value: Array) -> None:
        self._change([row], turn, value)

    def _on_host(self, turn: int) -> Array:
        """On the CPU the buffer itself, which ONNX Runtime shares; elsewhere a copy of it."""
        if self._device == "cpu":
            return self._arrays[turn % len(self._arrays)]
        array: Array = self.values[turn].numpy()
        return array

    def _change(self, rows: Sequence[int], turn: int, value: Array) -> None:
        array = self._on_host(turn)
        array[list(rows)] = value
        if self._device != "cpu":
            self.values[turn].update_inplace(array)


def _allocate(spec: TensorSpec, batch: int, frames: int) -> Array:
    return np.zeros([axis_extent(axis, batch, frames) for axis in spec.shape], spec.dtype)
