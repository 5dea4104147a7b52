"""A toy codec with one state of each kind, small enough to compute by hand, and its bundle.

Of each frame, two samples, it takes the sum of all so far and of the last `WINDOW`, the newest
times one, the one before times two and so on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS

Array = np.ndarray[Any, Any]
Json = dict[str, Any]
WINDOW = 5

WRITE_NATIVE = """
    first = Mod(offset, capacity)
    ring_next = TensorScatter <axis = 2, mode = "circular"> (ring, entries, first)
"""
WRITE_PORTABLE = """
    distance = Sub(slots, offset_column)
    index = Mod(distance, capacity)
    index_column = Unsqueeze(index, two)
    numbers = Range(zero, frames, one_scalar)
    same = Equal(index_column, numbers)
    same_float = Cast <to = 1> (same)
    chosen = Unsqueeze(same_float, one)
    spread = MatMul(chosen, entries)
    fresh = Less(index, frames)
    fresh_wide = Unsqueeze(fresh, one_and_three)
    ring_next = Where(fresh_wide, spread, ring)
"""
WRITE_BEHIND = """
    old = Slice(ring, zero_axis, last_slot_axis, two)
    ring_next = Concat <axis = 2> (old, entries)
"""
AGE = """
    behind = Sub(last_column, slots)
    age = Mod(behind, capacity)
"""
AGE_BEHIND = """
    before = Sub(last_column, one)
    behind = Sub(before, slots)
    in_ring = Mod(behind, last_slot)
    older = Add(in_ring, one)
    newest = Equal(slots, last_slot)
    age = Where(newest, zero, older)
"""
TEXT = """
<ir_version: 10, opset_import: ["" : {opset}]>
toy (float[{batch}, 1, width] {takes}, bool[{batch}] active, int64[{batch}] offset,
     float[{batch}, 2] total, float[{batch}, 1, {capacity}, 2] ring)
=> (int64[{batch}, 2] codes, int64[{batch}] offset_next, float[{batch}, 2] total_next,
    float[{batch}, 1, {capacity}, 2] ring_next)
<int64 zero = {{0}}, int64 one_scalar = {{1}}, int64 two_scalar = {{2}}, int64[1] one = {{1}},
 int64[1] two = {{2}}, int64[2] one_and_two = {{1, 2}}, int64[2] one_and_three = {{1, 3}},
 int64[4] cut = {{0, 1, -1, 2}}, int64 capacity = {{{capacity}}}, int64 window = {{{window}}},
 int64 last_slot = {{{last_slot}}}, int64[1] last_slot_axis = {{{last_slot}}},
 int64[1] zero_axis = {{0}}, float nothing = {{0.0}}, int64[{capacity}] slots = {{{slots}}}>
{{
    entries = Reshape({takes}, cut)
    shape = Shape(entries)
    frames = Gather(shape, two_scalar)
    offset_column = Unsqueeze(offset, one)
    after = Add(offset, frames)
    offset_next = Where(active, after, offset)
    gain = ReduceSum <keepdims = 0> (entries, one_and_two)
    sum = Add(total, gain)
    active_column = Unsqueeze(active, one)
    total_next = Where(active_column, sum, total)
    {write}
    last = Sub(after, one)
    last_column = Unsqueeze(last, one)
    {age}
    position = Sub(last_column, age)
    begun = GreaterOrEqual(position, zero)
    recent = Less(age, window)
    seen = And(begun, recent)
    seen_wide = Unsqueeze(seen, one_and_three)
    factor = Add(age, one)
    factor_float = Cast <to = 1> (factor)
    factor_wide = Unsqueeze(factor_float, one_and_three)
    scaled = Mul(ring_next, factor_wide)
    kept = Where(seen_wide, scaled, nothing)
    recently = ReduceSum <keepdims = 0> (kept, one_and_two)
    both = Add(recently, total_next)
    codes = Cast <to = 7> (both)
}}
"""


@dataclass(frozen=True)
class Toy:
    """How a toy is made: `most` is how many frames a call may bring, one where the ring is appended
    to; `takes` is its input's name."""

    native: bool = True
    most: int = 3
    carry: str = "in_place"
    batch: int | None = None
    takes: str = "pcm"

    @property
    def capacity(self) -> int:
        return WINDOW + self.most - 1

    def model(self) -> onnx.ModelProto:
        text = TEXT.format(
            opset=24 if self.native else 18,
            batch=self.batch or "batch",
            takes=self.takes,
            capacity=self.capacity,
            window=WINDOW,
            last_slot=self.capacity - 1,
            slots=", ".join(map(str, range(self.capacity))),
            write=self._write(),
            age=AGE_BEHIND if self.carry == "append" else AGE,
        )
        return onnx.parser.parse_model(text)

    def _write(self) -> str:
        if self.carry == "append":
            return WRITE_BEHIND
        return WRITE_NATIVE if self.native else WRITE_PORTABLE

    def spec(self) -> Json:
        batch = self.batch or "batch"
        ring = {"axis": 2, "position": "offset"}
        return {
            "file": "toy.onnx",
            "max_frames": self.most,
            "inputs": [tensor(self.takes, "float32", batch, 1, "2*frames")],
            "active": tensor("active", "bool", batch),
            "outputs": [tensor("codes", "int64", batch, 2)],
            "states": [
                state("offset", "int64", batch),
                state("total", "float32", batch, 2),
                {
                    **state("ring", "float32", batch, 1, self.capacity, 2),
                    "carry": self.carry,
                    "ring": ring,
                },
            ],
        }

    def write(self, folder: Path) -> Path:
        """Writes the toy's bundle and returns its folder."""
        return write_bundle(folder, {"toy": self.spec()}, {"toy.onnx": serialized(self.model())})

    def graph(self, folder: Path) -> Graph:
        """The toy's graph, opened on the CPU."""
        return Graph(Bundle.open(self.write(folder)), "toy", PROVIDERS["cpu"], 1)


def tensor(name: str, dtype: str, *shape: int | str) -> Json:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def state(name: str, dtype: str, *shape: int | str) -> Json:
    return {"input": name, "output": f"{name}_next", "dtype": dtype, "shape": list(shape)}


def serialized(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def entry(content: bytes) -> Json:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def manifest(graphs: Mapping[str, Json], files: Mapping[str, bytes]) -> Json:
    """A manifest that holds, its first graph being the encoder."""
    return {
        "format": "kyutai-onnx",
        "format_version": 1,
        "minimum_onnxruntime": "1.24",
        "generator": "a test",
        "name": "toy",
        "family": "mimi",
        "source": {"repository": "example/toy"},
        "target": "cpu",
        "flavour": "native",
        "precision": "fp32",
        "audio": {"sample_rate": 25, "channels": 1, "frame_size": 2, "frame_rate": 12.5},
        "codec": {
            "codebooks": 2,
            "cardinality": 16,
            "encoder": list(graphs)[:1],
            "decoder": [],
        },
        "graphs": dict(graphs),
        "files": {name: entry(content) for name, content in files.items()},
    }


def write_bundle(folder: Path, graphs: Mapping[str, Json], files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_manifest(folder, manifest(graphs, files))
    return folder


def write_manifest(folder: Path, content: object) -> None:
    (folder / "bundle.json").write_text(json.dumps(content), encoding="utf-8")


def read_manifest(folder: Path) -> Json:
    content: Json = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    return content


def remembered(saved: Mapping[str, Array]) -> dict[str, Array]:
    """Of a saved row what is read again: of the ring, held rows may lose the rest."""
    return {**saved, "ring": saved["ring"][:, 1 - WINDOW :]}


def expected(frames: Sequence[Array]) -> Array:
    """What the toy says `[2]` once it has received these frames, each `[2]`."""
    newest_first = list(reversed(frames))[:WINDOW]
    recently = sum((i + 1) * frame for i, frame in enumerate(newest_first))
    codes: Array = np.asarray(recently + np.sum(frames, axis=0), np.int64)
    return codes
