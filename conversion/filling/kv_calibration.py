"""The steps in which an 8-bit KV cache counts, found by letting the bundle itself run.

The graph is written with coarse steps. From the ranges that keys and values take in a run follow
finer ones, with which it runs again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...runtime.bundle.bundle import Bundle, sha256
from ...runtime.bundle.manifest import FileEntry, GraphSpec
from ...runtime.typing import Array
from .template import TemplateTensor

MOST = 127
"""Steps that an entry may lie from 0."""
PASSES = 3
MARGIN = 1.25
"""Factor by which later entries may exceed the run's."""
SATURATED = 4.0
"""Factor by which a range grows if entries met its end."""

CacheEntries = Callable[[Bundle], Mapping[str, Array]]
"""Runs a bundle and returns, by the name of the state, the entries int8 `[heads, n, head_dim]` that
its KV cache then holds."""


def calibrate_cache(
    bundle: Bundle, tensors: Sequence[TemplateTensor], cache_entries: CacheEntries
) -> dict[str, FileEntry]:
    """Find the steps of a bundle's 8-bit KV cache and write them into its data file, where
    `tensors` lie. Returns the file that changed.
    """
    lm = bundle.manifest.lm
    assert lm is not None
    spec = bundle.graph(lm.temporal)
    assert spec.data is not None
    data = bundle.file(spec.data)
    steps = _Steps(data, spec, tensors)
    for _ in range(PASSES):
        entries = cache_entries(bundle)
        for state in spec.states:
            if state.carry == "append":
                steps.refine(state.input, entries[state.input])
    return {spec.data: FileEntry(sha256(data), data.stat().st_size)}


class _Steps:
    """The steps as they lie in the data file, by the names of their rings."""

    def __init__(self, data: Path, spec: GraphSpec, tensors: Sequence[TemplateTensor]) -> None:
        self._data = data
        stored = {tensor.name: tensor for tensor in tensors}
        self._tensors: dict[str, TemplateTensor] = {}
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
        place = self._tensors[name]
        with self._data.open("r+b") as file:
            file.seek(place.offset)
            steps = np.frombuffer(file.read(place.bytes), np.float32).reshape(place.shape)
            file.seek(place.offset)
            file.write((steps * grown[None, :, None]).astype(np.float32).tobytes())
