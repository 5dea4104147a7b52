"""A batch of rows, also where a graph was exported for one row at a time."""

from typing import Any

import numpy as np
from support.parity.schedule import ROWS

from kyutai_onnx.runtime.graph.batch_state import PipelineState
from kyutai_onnx.runtime.graph.graph import GraphPipeline

Array = np.ndarray[Any, Any]


class Rows:
    """One batch of all rows or, of a fixed batch of one, as many batches as rows."""

    def __init__(self, chain: GraphPipeline) -> None:
        fixed = any(graph.fixed_batch == 1 for graph in chain.graphs)
        self._batches = (
            [PipelineState(chain, 1) for _ in range(ROWS)]
            if fixed
            else [PipelineState(chain, ROWS)]
        )

    def step(self, inputs: dict[str, Array], active: Array) -> dict[str, Array]:
        if len(self._batches) == 1:
            return self._batches[0].step(inputs, active)
        outputs = [
            batch.step({name: value[row, None] for name, value in inputs.items()}, [active[row]])
            for row, batch in enumerate(self._batches)
        ]
        return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}

    def reset(self, rows: list[int]) -> None:
        if len(self._batches) == 1:
            self._batches[0].reset(rows)
            return
        for row in rows:
            self._batches[row].reset()
