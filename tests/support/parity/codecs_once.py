"""Codecs are exported once: the same one comes beside many models, and takes longest to trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from support.shared import Shared

from kyutai_onnx.conversion.filling.template import GraphTemplate
from kyutai_onnx.export import plan
from kyutai_onnx.export.graphs.graph_template import GraphPlan

Key = tuple[object, ...]


class Codecs:
    """Templates of codecs as they were made for the first bundle that needed them."""

    def __init__(self, shared: Shared) -> None:
        self._make, self._shared = plan.graph_template, shared

    @contextmanager
    def shared(self, key: Key) -> Iterator[None]:
        """While a bundle is exported; `key` identifies the codec."""

        def make(graph: GraphPlan) -> GraphTemplate:
            if graph.weights != "mimi":
                return self._make(graph)

            def export(own: Path) -> GraphTemplate:
                own.mkdir()
                return self._make(graph)

            name = "-".join(map(str, ("codec", *key, graph.name)))
            self._shared.once(name, export)
            made: GraphTemplate = self._shared.result(name)
            return made

        with mock.patch.object(plan, "graph_template", make):
            yield
