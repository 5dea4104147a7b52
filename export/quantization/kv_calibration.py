"""The steps in which an 8-bit KV cache counts: found by letting the bundle itself run.

It hears the samples that ship with the demo, or speaks as it likes, with coarse steps at first;
from the ranges that keys and values took the next, finer steps follow.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...models.hub.resolve import SAMPLES
from ...models.lm.generation import Generator
from ...models.lm.language_model import LanguageModel
from ...models.mimi.model import Mimi
from ...models.options import SamplingParams
from ...runtime.bundle.bundle import Bundle, read_manifest, sha256
from ...runtime.bundle.dataclass_json import write_json
from ...runtime.bundle.manifest import FILE_NAME, FileEntry, GraphSpec
from ..modules.quantized_kv_cache import MOST

Array = np.ndarray[Any, Any]
PASSES = 3
FRAMES = 150
MARGIN = 1.25
"""By how much later entries may exceed what was seen."""
SATURATED = 4.0
"""By how much a range grows where entries met its end."""


def settle_cache_steps(folder: Path) -> None:
    """Finds and writes the steps of a bundle with an 8-bit KV cache, in place."""
    manifest = read_manifest(folder)
    assert manifest.lm is not None
    spec = manifest.graphs[manifest.lm.temporal]
    steps = _Steps(folder, spec)
    for _ in range(PASSES):
        bundle = Bundle(folder, manifest)
        entries = _entries(bundle)
        for state in spec.states:
            if state.carry == "append":
                steps.refine(state.input, entries[state.input])
        steps.save()
    files = dict(manifest.files)
    for name in filter(None, (spec.file, spec.data)):
        file = folder / name
        files[name] = FileEntry(sha256(file), file.stat().st_size)
    write_json(folder / FILE_NAME, replace(manifest, files=files))


def _entries(bundle: Bundle) -> dict[str, Array]:
    """The states of a stream that has heard or said something."""
    manifest = bundle.manifest
    lm, sampling = manifest.lm, manifest.sampling
    assert lm is not None
    assert sampling is not None
    model = LanguageModel(bundle, allow_fallback=True)
    generator = Generator(model)
    drawing = SamplingParams(
        sampling.temp, sampling.temp_text, sampling.top_k, sampling.top_k_text, seed=0
    )
    generator.begin(0, drawing, conditions=model.condition())
    frames = min(FRAMES, lm.context - 1)
    for codes in _heard(bundle, lm.n_q - lm.dep_q, frames):
        generator.step(codes[None])
    saved: dict[str, Array] = generator.save(0)["transformer"]
    return saved


def _heard(bundle: Bundle, codebooks: int, frames: int) -> Array:
    """Codes int64 `[frames, codebooks]` of the samples, over and over."""
    if not codebooks:
        return np.zeros((frames, 0), np.int64)
    mimi = Mimi(bundle, allow_fallback=True)
    files = sorted(file for file in SAMPLES.iterdir() if file.suffix in (".wav", ".flac"))
    codes = np.concatenate([mimi.encode(file, codebooks) for file in files], axis=1)
    return np.resize(codes.T, (frames, codebooks))


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
