"""Graphs are traced once for all tests of a run: the same one comes in many bundles, and tracing
takes most of the time of an export."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

from support.shared import Shared

from kyutai_onnx.conversion.filling.template import GraphTemplate
from kyutai_onnx.export import plan
from kyutai_onnx.export.graphs.graph_template import GraphPlan, graph_template


@contextmanager
def traced_once(shared: Shared) -> Iterator[None]:
    """Within it, exports of this process take a graph that was traced before in any worker.

    Blocks may be nested. A recipe may round in a way of its own: what it writes is always traced.
    """

    def find(graph: GraphPlan) -> GraphTemplate:
        assert isinstance(graph.build, partial)
        if graph.build.func is plan.write_by_recipe:
            return graph_template(graph)
        made_from = repr((graph.build, graph.sizes, graph.halves))
        assert " at 0x" not in made_from, made_from
        name = f"{graph.name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"

        def make(folder: Path) -> GraphTemplate:
            folder.mkdir()
            return graph_template(graph)

        shared.once(name, make)
        found: GraphTemplate = shared.result(name)
        return replace(found, spec=replace(found.spec, runs_on=graph.runs_on))

    with mock.patch.object(plan, "graph_template", find):
        yield
