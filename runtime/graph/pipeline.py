"""Graphs that run one after the other, as one: outputs of each are inputs of the next."""

from collections.abc import Collection, Mapping, Sequence

from ..bundle.bundle import Bundle
from ..bundle.manifest import StateSpec
from ..providers.provider import PROVIDERS, Provider
from .batch_state import Array, Streams
from .graph import Graph
from .rings import State, check_states


def open_graph(
    bundle: Bundle,
    name: str,
    provider: Provider,
    threads: int | None = None,
    outputs: Collection[str] | None = None,
) -> Graph:
    """A graph on the provider, or on the one that the manifest says it runs on instead."""
    spec = bundle.graph(name)
    elsewhere = spec.runs_on is not None and provider.name == bundle.manifest.target
    chosen = PROVIDERS[spec.runs_on] if elsewhere and spec.runs_on else provider
    return Graph(bundle, name, chosen, threads, outputs)


class Chain:
    """The graphs of a chain, opened; shared by threads as a `Graph` is."""

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
        """Those of all its graphs."""
        return [spec for graph in self.graphs for spec in graph.spec.states]

    def streams(self, batch: int = 1) -> "ChainStreams":
        return ChainStreams([graph.streams(batch) for graph in self.graphs])


class ChainStreams:
    """Rows of state of a whole chain; the same calls as `Streams`."""

    def __init__(self, links: Sequence[Streams]) -> None:
        self._links = links

    @property
    def repeats(self) -> bool:
        """Whether a step that failed may be made again: of several graphs some have moved on."""
        return len(self._links) == 1

    def step(
        self, inputs: Mapping[str, Array], active: Array | Sequence[bool] | None = None
    ) -> dict[str, Array]:
        outputs = dict(inputs)
        for link in self._links:
            outputs = link.step(outputs, active)
        return outputs

    def use(self, rows: int) -> None:
        for link in self._links:
            link.use(rows)

    def move(self, source: int, target: int) -> None:
        for link in self._links:
            link.move(source, target)

    def reset(self, rows: Sequence[int] | None = None) -> None:
        for link in self._links:
            link.reset(rows)

    def save(self, row: int) -> State:
        return {name: value for link in self._links for name, value in link.save(row).items()}

    def load(self, row: int, saved: State) -> None:
        """As `Streams.load`."""
        check_states([spec for link in self._links for spec in link.states], saved)
        for link in self._links:
            link.load(row, {spec.input: saved[spec.input] for spec in link.states})
