"""What a graph reads and writes in one step, bound to it once: buffers that stay where they are."""

import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..bundle.manifest import TensorSpec, axis_extent
from ..errors import UsageError
from ..providers.provider import load_onnxruntime
from ..typing import Array
from .buffers import Buffer
from .graph import Graph
from .graph_state import StateBuffers

NOT_CAPTURED = -1
"""The `gpu_graph_id` of a run that is neither captured nor replayed."""


class Binding:
    """Buffers for one number of frames and rows, bound once for each of the states' two turns;
    where `outputs` is not given, those too are its own.

    Where the provider captures CUDA graphs, those of single frames are captured, one for each turn.
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
        """Some of the rows alone, whose outputs lie among those of all."""
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
        """Options of each turn's runs: a capture holds addresses, so it is of these alone."""
        if not self._graph.captures:
            return [None, None]
        if not self._captured:
            return [_run_options(NOT_CAPTURED)] * 2
        numbers = [next(self._graph.captures_made) for _ in self._turns]
        weakref.finalize(self, _release, self._graph.session, numbers)
        return [_run_options(number) for number in numbers]


def _run_options(number: int) -> Any:
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _release(session: Any, numbers: Sequence[int]) -> None:
    """Gives captured graphs back, which onnxruntime can from 1.31 on."""
    for number in numbers:
        if hasattr(session, "release_captured_graph"):
            session.release_captured_graph(number)
