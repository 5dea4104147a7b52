"""Rows of state stepped through a graph together, the buffers that each step is bound to, and how a
row is saved."""

import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..bundle.manifest import StateSpec, TensorSpec, axis_extent
from ..errors import UsageError
from ..exclusive import Exclusive, exclusive
from ..providers.provider import load_onnxruntime
from ..typing import Array
from .buffers import Buffer, StateBuffers
from .graph import Graph, GraphPipeline

State = dict[str, Array]
"""One row's states by name. Of a ring it has only the filled part, the oldest entry first."""

FURTHEST = 2**53 - 1
"""The longest stream: every reader of JSON holds its number of entries exactly."""

ENTRIES_PER_FRAME = 8
"""Most entries that a ring takes of one frame; Mimi's take two."""

PARTS = 8
"""Parts of the rows in use; a step of some rows begins and ends at their borders. So few different
ranges occur, for each of which buffers are kept."""

NOT_CAPTURED = -1
"""The `gpu_graph_id` of a run that is neither captured nor replayed."""


class Binding:
    """Buffers for one number of frames and rows, bound once for each of the states' two turns; the
    outputs too, unless `outputs` is given.

    If the provider captures CUDA graphs, those of single frames are captured, one for each turn.
    ONNX Runtime steps the graph several times to capture it, which changes nothing: what a step
    reads it writes only in rings, and there the same entries to the same slots.
    """

    def __init__(
        self,
        graph: Graph,
        batch: int,
        frames: int,
        states: Sequence[StateBuffers],
        outputs: Mapping[str, Buffer] | None = None,
    ) -> None:
        self._graph, self._states = graph, states
        self._captured = graph.captures and frames == 1

        def shape(port: TensorSpec) -> list[int]:
            return [axis_extent(axis, batch, frames) for axis in port.shape]

        spec = graph.spec
        fed = (*spec.inputs, spec.active)
        self._inputs = {p.name: graph.allocate(p.name, shape(p), p.dtype) for p in fed}
        self._outputs = outputs or {
            p.name: graph.allocate(p.name, shape(p), p.dtype) for p in spec.outputs
        }
        self._bound = dict(self._inputs)
        self._turns = [self._bind(turn) for turn in (0, 1)]
        self._options = self._number_captures()

    def for_rows(
        self, start: int, stop: int, frames: int, states: Sequence[StateBuffers]
    ) -> "Binding":
        """A binding of some of the rows, whose outputs lie among those of all."""
        outputs = {name: buffer.view(start, stop) for name, buffer in self._outputs.items()}
        rows = [state.view(start, stop) for state in states]
        return Binding(self._graph, stop - start, frames, rows, outputs)

    def fill(self, inputs: Mapping[str, Array | Buffer], active: Array, start: int = 0) -> None:
        """Sets the inputs from as many rows as `active` has, which begin `start` rows before these;
        those that are missing are held. Raises UsageError for an input of a wrong shape."""
        for port in self._graph.spec.inputs:
            name, own, value = port.name, self._inputs[port.name], inputs[port.name]
            if isinstance(value, Buffer) and value.stands_for(own):
                self._take(name, value)
            else:
                self._take(name, own)
                own.write(self._own(name, value, len(active), start))
        held = self._inputs[self._graph.spec.active.name]
        stepped = np.zeros(held.shape[0], np.bool_)
        here = active[start : start + len(stepped)]
        stepped[: len(here)] = here
        held.write(stepped.reshape(-1, *[1] * (len(held.shape) - 1)))

    def run(self, turn: int) -> None:
        if self._graph.provider.memory == "copied":
            self._bind_inputs(self._turns[turn], turn)
        self._graph.run(self._turns[turn], self._options[turn])

    def outputs(self, keep: Collection[str], rows: int) -> dict[str, Any]:
        """What the last run wrote: arrays of the first `rows`, and the buffers themselves of those
        to `keep`."""
        return {
            name: buffer if name in keep else buffer.read()[:rows]
            for name, buffer in self._outputs.items()
        }

    def _own(self, name: str, value: Array | Buffer, rows: int, start: int) -> Array:
        """An input for every row of the graph, of one for `rows`: the last row's stands for those
        that are missing. A buffer of another graph may have more rows."""
        count, *rest = self._inputs[name].shape
        array = np.asarray(value)[:rows] if isinstance(value, Buffer) else np.asarray(value)
        if array.shape != (rows, *rest):
            raise UsageError(f"{name} has shape {value.shape}, {(rows, *rest)} expected")
        array = array[start : start + count]
        missing = count - len(array)
        return np.concatenate([array, *[array[-1:]] * missing]) if missing else array

    def _take(self, name: str, buffer: Buffer) -> None:
        """Reads an input from a buffer from now on."""
        if self._bound[name] is buffer:
            return
        self._bound[name] = buffer
        for binding in self._turns:
            binding.bind_ortvalue_input(name, buffer.value)
        self._options = self._number_captures()

    def _bind(self, turn: int) -> Any:
        binding = self._graph.session.io_binding()
        self._bind_inputs(binding, turn)
        for name, buffer in self._outputs.items():
            binding.bind_ortvalue_output(name, buffer.value)
        for state in self._states:
            if state.spec.output is not None:
                binding.bind_ortvalue_output(state.spec.output, state.buffers[turn ^ 1].value)
        return binding

    def _bind_inputs(self, binding: Any, turn: int) -> None:
        for name, buffer in self._bound.items():
            binding.bind_ortvalue_input(name, buffer.value)
        for state in self._states:
            binding.bind_ortvalue_input(state.spec.input, state.buffers[turn].value)

    def _number_captures(self) -> list[Any]:
        """Options of each turn's runs: a capture holds addresses, so each binding has its own."""
        if not self._graph.captures:
            return [None, None]
        if not self._captured:
            return [_run_options(NOT_CAPTURED)] * 2
        numbers = [next(self._graph.captures_made) for _ in self._turns]
        weakref.finalize(self, _release, self._graph.session, numbers)
        return [_run_options(number) for number in numbers]


class BatchState:
    """Rows of state, stepped together through a graph; each row is an independent stream. For one
    thread at a time.

    Of the `batch` rows that there is memory for, the first `used` are stepped: all of them, unless
    `use_rows` says otherwise. If the graph allows it, it runs only over the rows from the first
    active one to the last, rounded to the borders of `PARTS`.

    Raises UsageError if the graph's batch is fixed to another number.
    """

    def __init__(self, graph: Graph, batch: int = 1) -> None:
        if graph.fixed_batch not in (None, batch):
            raise UsageError(
                f"{graph.name} was exported for a batch of {graph.fixed_batch}, not {batch}; "
                f"export it again with '--batch {batch}' or without"
            )
        self.graph, self.batch = graph, batch
        self._exclusive = Exclusive()
        self.used = batch
        self._states = [StateBuffers(spec, batch, graph.allocate) for spec in graph.spec.states]
        named = {state.spec.input: state for state in self._states}
        self._rings = [
            (state, named[state.spec.ring.position])
            for state in self._states
            if state.spec.ring is not None
        ]
        self._appended = [pair for pair in self._rings if pair[0].spec.carry == "append"]
        whole = any(s.carry == "replace" and s.ring is not None for s in graph.spec.states)
        self._parted = graph.narrows and not whole
        self._bindings: dict[tuple[int, int], Binding] = {}
        self._part_bindings: dict[tuple[int, int, int], Binding] = {}
        self._turn = 0
        self._ran = np.zeros(batch, np.bool_)
        """Rows whose rings may have been written to, by a run or by `load`."""

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """Those of its graph."""
        return self.graph.spec.states

    @exclusive
    def use_rows(self, rows: int) -> None:
        """Steps only the first `rows` rows from now on: inputs, `active` and outputs have that
        many.

        Rows that come into use are at the beginning of a stream. Rows out of use cost nothing if
        the graph takes any number of rows from memory that is shared with numpy; otherwise they are
        held. Raises UsageError for fewer than one or more than `batch`.
        """
        if not 1 <= rows <= self.batch:
            raise UsageError(
                f"cannot use {rows} rows of {self.graph.name}: choose 1 to {self.batch}"
            )
        if rows > self.used:
            self.reset(range(self.used, rows))
        if rows != self.used:
            self._part_bindings.clear()
        self.used = rows

    @exclusive
    def step(
        self,
        inputs: Mapping[str, Array | Buffer],
        active: Array | Sequence[bool] | None = None,
        keep: Collection[str] = (),
    ) -> dict[str, Any]:
        """Steps the active rows (all in use by default) and returns the outputs by name.

        The outputs are views of buffers that the next step with as many frames and rows overwrites;
        rows that were held are meaningless. Outputs named in `keep` stay where they were computed:
        they are buffers for another graph to read, possibly with rows that are not in use. Raises
        UsageError for an input that is missing or has a wrong shape.

        A run that fails leaves all rows as a step that holds them does, and may be repeated: states
        of two buffers were written to the other one, and rings only at the place that the next step
        writes first.
        """
        missing = [port.name for port in self.graph.spec.inputs if port.name not in inputs]
        if missing:
            raise UsageError(f"{self.graph.name} needs the input {', '.join(missing)}: pass it")
        frames, stepped = self._frames(inputs), self._active(active)
        whole, (start, stop) = self._binding(frames), self.active_range(stepped)
        alone = stop - start < self.used
        binding = self._part_binding(whole, frames, start, stop) if alone else whole
        binding.fill(inputs, stepped, start)
        self._ran[start : stop if self.graph.narrows else self.batch] = True
        binding.run(self._turn)
        rows = np.flatnonzero(stepped).tolist()
        for state, position in self._appended:
            state.append(rows, position.buffers[self._turn].read())
        if alone:
            for state in self._states:
                state.settle(start, stop, self._turn)
        else:
            self._turn ^= 1
        return whole.outputs(keep, self.used)

    def active_range(self, active: Array) -> tuple[int, int]:
        """The first of the rows that a step of the active ones runs over, and the one behind the
        last."""
        rows = np.flatnonzero(active)
        if not self._parted or not len(rows):
            return 0, self.used
        size = -(-self.used // PARTS)
        start, stop = int(rows[0]) // size * size, (int(rows[-1]) // size + 1) * size
        return start, min(stop, self.used)

    @exclusive
    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Takes rows (all by default) back to the beginning of a stream, which depends on nothing
        that was in them."""
        chosen = list(range(self.batch)) if rows is None else list(rows)
        for row in chosen:
            self._clear(row)
        for state in self._states:
            state.reset(chosen, self._turn)

    @exclusive
    def move(self, source: int, target: int) -> None:
        """Puts the stream of one row in the place of another's, which ends."""
        self._clear(target)
        self._ran[target] = self._ran[source]
        whole = {
            state.spec.ring.position: 0 for state in self._states if state.spec.ring is not None
        }
        for state in self._states:
            if state.spec.input in whole:
                whole[state.spec.input] = int(state.read(source, self._turn))
        for state in self._states:
            ring = state.spec.ring
            state.move(source, target, self._turn, None if ring is None else whole[ring.position])

    @exclusive
    def set_constants(self, row: int, constants: State) -> None:
        """Sets all constant states of a row; raises UsageError if they do not fit."""
        states = [state for state in self._states if state.spec.carry == "constant"]
        for state in states:
            if state.spec.input not in constants:
                raise UsageError(f"{self.graph.name} needs {state.spec.input}: pass it")
            check_fit(state.spec, constants[state.spec.input].shape, state.spec.row_shape)
        for state in states:
            state.write(row, self._turn, constants[state.spec.input])

    @exclusive
    def save(self, row: int) -> State:
        """The whole memory of one row, to be loaded elsewhere, on another provider too."""
        whole = {state.spec.input: state.read(row, self._turn) for state in self._states}
        return {
            state.spec.input: unroll(whole[state.spec.input], state.spec, whole)
            for state in self._states
        }

    @exclusive
    def load(self, row: int, saved: State) -> None:
        """Continues in `row` what `save` returned; raises UsageError, and leaves the row as it was,
        if it does not fit."""
        check_states(self.states, saved)
        rolled = [roll(saved[state.spec.input], state.spec, saved) for state in self._states]
        for state, value in zip(self._states, rolled, strict=True):
            state.write(row, self._turn, value)
        self._ran[row] = True

    def _clear(self, row: int) -> None:
        """Empties a row's rings of what was written to them, by steps that held it too: those
        write behind its entries."""
        if not self._ran[row]:
            return
        self._ran[row] = False
        ahead = ENTRIES_PER_FRAME * self.graph.spec.max_frames
        for state, position in self._rings:
            state.clear(row, self._turn, int(position.read(row, self._turn)) + ahead)

    def _frames(self, inputs: Mapping[str, Array | Buffer]) -> int:
        for spec in self.graph.spec.inputs:
            for axis, extent in zip(spec.shape, inputs[spec.name].shape, strict=False):
                if isinstance(axis, str) and axis.endswith("frames"):
                    return self._allowed(int(extent) // axis_extent(axis, 1, 1))
        return 1

    def _allowed(self, frames: int) -> int:
        most = self.graph.spec.max_frames
        if not 1 <= frames <= most:
            raise UsageError(
                f"cannot step {self.graph.name} by {frames} frames in one call: choose 1 to {most}"
            )
        return frames

    def _active(self, active: Array | Sequence[bool] | None) -> Array:
        rows = np.ones(self.used, np.bool_) if active is None else np.asarray(active, np.bool_)
        if rows.shape != (self.used,):
            raise UsageError(f"active has shape {rows.shape}, ({self.used},) expected")
        return rows

    def _binding(self, frames: int) -> Binding:
        """The binding that steps `frames` frames of the rows in use."""
        rows = self.used if self.graph.narrows else self.batch
        if (frames, rows) not in self._bindings:
            states = [state.view(0, rows) for state in self._states]
            self._bindings[frames, rows] = Binding(self.graph, rows, frames, states)
        return self._bindings[frames, rows]

    def _part_binding(self, whole: Binding, frames: int, start: int, stop: int) -> Binding:
        """The binding that steps some of the rows in use."""
        if (frames, start, stop) not in self._part_bindings:
            part = whole.for_rows(start, stop, frames, self._states)
            self._part_bindings[frames, start, stop] = part
        return self._part_bindings[frames, start, stop]


class PipelineState:
    """Rows of state of all graphs of a pipeline; the same calls as `BatchState`."""

    def __init__(self, pipeline: GraphPipeline, batch: int = 1) -> None:
        self._states = [BatchState(graph, batch) for graph in pipeline.graphs]

    @property
    def repeats(self) -> bool:
        """Whether a step that failed may be made again: of several graphs some have moved on."""
        return len(self._states) == 1

    def step(
        self, inputs: Mapping[str, Array], active: Array | Sequence[bool] | None = None
    ) -> dict[str, Array]:
        outputs = dict(inputs)
        for state in self._states:
            outputs = state.step(outputs, active)
        return outputs

    def use_rows(self, rows: int) -> None:
        for state in self._states:
            state.use_rows(rows)

    def move(self, source: int, target: int) -> None:
        for state in self._states:
            state.move(source, target)

    def reset(self, rows: Sequence[int] | None = None) -> None:
        for state in self._states:
            state.reset(rows)

    def save(self, row: int) -> State:
        return {name: value for state in self._states for name, value in state.save(row).items()}

    def load(self, row: int, saved: State) -> None:
        """As `BatchState.load`."""
        check_states([spec for state in self._states for spec in state.states], saved)
        for state in self._states:
            state.load(row, {spec.input: saved[spec.input] for spec in state.states})


def _run_options(number: int) -> Any:
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _release(session: Any, numbers: Sequence[int]) -> None:
    """Gives captured graphs back, which onnxruntime can from 1.31 on."""
    for number in numbers:
        if hasattr(session, "release_captured_graph"):
            session.release_captured_graph(number)


def unroll(value: Array, spec: StateSpec, whole: State) -> Array:
    """A state as it is saved, of a row's `value` and all of its states."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(whole[spec.ring.position])
    order = np.arange(max(0, count - spec.capacity), count) % spec.capacity
    filled: Array = np.take(value, order, axis=axis)
    return filled


def check_states(specs: Sequence[StateSpec], saved: State) -> None:
    """Raises UsageError if a saved row is damaged or does not fit a graph with these states."""
    for spec in specs:
        if spec.input not in saved:
            raise UsageError(f"the saved state has no {spec.input}; another model saved it")
    for name in saved.keys() - {spec.input for spec in specs}:
        raise UsageError(f"the saved state has a {name}; another model saved it")
    for spec in sorted(specs, key=lambda spec: spec.ring is not None):
        _check_dtype(spec, saved[spec.input])
        _check_shape(spec, saved)


def _check_dtype(spec: StateSpec, value: Array) -> None:
    if (value.dtype == np.int8) != (spec.dtype == "int8"):
        raise UsageError(
            f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}: load it "
            "with a bundle of the same --kv-cache"
        )
    if value.dtype.kind != np.dtype(spec.dtype).kind:
        raise UsageError(f"the saved {spec.input} is {value.dtype}, this model's is {spec.dtype}")


def _check_shape(spec: StateSpec, saved: State) -> None:
    found, expected = saved[spec.input].shape, spec.row_shape
    if spec.ring is None:
        check_fit(spec, found, expected)
        return
    axis = spec.ring.axis - 1
    slots = (*found[:axis], expected[axis], *found[axis + 1 :])
    check_fit(spec, slots, expected)
    count = int(saved[spec.ring.position])
    if found[axis] > count or count > FURTHEST:
        raise UsageError(
            f"the saved {spec.input} holds {found[axis]} entries of a stream of {count}"
        )


def roll(value: Array, spec: StateSpec, saved: State) -> Array:
    """The inverse of `unroll`, into a ring that may be larger or smaller than the one saved; of a
    state that `check_states` found right."""
    if spec.ring is None:
        return value
    axis, count = spec.ring.axis - 1, int(saved[spec.ring.position])
    kept = min(value.shape[axis], spec.capacity)
    ring = np.full(spec.row_shape, spec.initial, spec.dtype)
    slots = [slice(None)] * ring.ndim
    slots[axis] = np.arange(count - kept, count) % spec.capacity  # type: ignore[call-overload]
    ring[tuple(slots)] = np.take(value, range(value.shape[axis] - kept, value.shape[axis]), axis)
    return ring


def check_fit(spec: StateSpec, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises UsageError if a saved state has another shape than this model's."""
    if found != expected:
        raise UsageError(
            f"the saved {spec.input} has shape {list(found)}, this model's is {list(expected)}"
        )
