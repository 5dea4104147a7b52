"""The steps in which an 8-bit KV cache counts, found by letting the bundle itself run.

The graph is written with coarse steps. From the ranges that keys and values take in a run follow
finer ones, with which it runs again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

from ...runtime.bundle.bundle import Bundle, sha256
from ...runtime.bundle.manifest import FileEntry, GraphSpec
from ...runtime.typing import Array
from ..modules.quantized_kv_cache import MOST

PASSES = 3
MARGIN = 1.25
"""Factor by which later entries may exceed the run's."""
SATURATED = 4.0
"""Factor by which a range grows if entries met its end."""


def calibrate_cache(
    bundle: Bundle, cache_entries: Callable[[Bundle], Mapping[str, Array]]
) -> dict[str, FileEntry]:
    """Find the steps of a bundle's 8-bit KV cache and write them into its graph.

    `cache_entries` runs the bundle and returns, by the name of the state, the entries int8
    `[heads, n, head_dim]` that its cache then holds. Returns the files that changed.
    """
    lm = bundle.manifest.lm
    assert lm is not None
    spec = bundle.graph(lm.temporal)
    steps = _Steps(bundle.path, spec)
    for _ in range(PASSES):
        entries = cache_entries(bundle)
        for state in spec.states:
            if state.carry == "append":
                steps.refine(state.input, entries[state.input])
        steps.save()
    names = [name for name in (spec.file, spec.data) if name is not None]
    files = {name: bundle.file(name) for name in names}
    return {name: FileEntry(sha256(file), file.stat().st_size) for name, file in files.items()}


class _Steps:
    """The steps as they lie in the graph or its data file, by the names of their rings."""

    def __init__(self, folder: Path, spec: GraphSpec) -> None:
        self._folder, self._file = folder, folder / spec.file
        self._model = onnx.load(self._file, load_external_data=False)
        stored = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._tensors: dict[str, onnx.TensorProto] = {}
        for state in spec.states:
            if state.carry == "append":
                path, _, kind = state.input.rpartition(".")
                self._tensors[state.input] = stored[f"{path}.cache.{kind}"]

    def refine(self, name: str, entries: Array) -> None:
        """Sets the steps of a ring by the entries `[heads, n, D]` that it holds."""
        most = np.abs(entries.astype(np.int32)).max(axis=1)
        if name.endswith(".keys"):
            half = most.shape[-1] // 2  # a pair turns: either takes the range of both
            most = np.tile(np.maximum(most[:, :half], most[:, half:]), 2)
        grown = np.where(most >= MOST, SATURATED * MOST, (most + 0.5) * MARGIN) / MOST
        tensor = self._tensors[name]
        steps = onnx.numpy_helper.to_array(tensor, str(self._folder))
        self._write(tensor, (steps * grown[None, :, None]).astype(np.float32))

    def save(self) -> None:
        """Writes the steps that lie in the graph itself; the others are written."""
        onnx.save(self._model, self._file)

    def _write(self, tensor: onnx.TensorProto, steps: Array) -> None:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(onnx.numpy_helper.from_array(steps, tensor.name))
            return
        place = {entry.key: entry.value for entry in tensor.external_data}
        with (self._folder / place["location"]).open("r+b") as file:
            file.seek(int(place["offset"]))
            file.write(steps.tobytes())
