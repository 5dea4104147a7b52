"""Graphs that run one after the other as one: the outputs of each are the inputs of the next."""

from collections.abc import Mapping, Sequence

from ..bundle.bundle import Bundle
from ..bundle.manifest import StateSpec
from ..providers.provider import Provider
from ..typing import Array
from .batch_state import BatchState, State, check_states
from .graph import open_graph


class GraphPipeline:
    """Graphs, opened; shared by threads as a `Graph` is."""

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

    def batch_state(self, batch: int = 1) -> "PipelineState":
        """Rows of state at the beginning of a stream."""
        return PipelineState([BatchState(graph, batch) for graph in self.graphs])


class PipelineState:
    """Rows of state of all graphs of a pipeline; the same calls as `BatchState`."""

    def __init__(self, states: Sequence[BatchState]) -> None:
        self._states = states

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
