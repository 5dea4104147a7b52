"""Kyutai's PyTorch checkpoints, as their modules' load hooks take them."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ....runtime.errors import ModelError
from ....runtime.typing import Array
from ..config import LMConfig, MimiConfig
from ..tensor_views import Piece, Renamed, TensorAssembly, Tensors, collected, renamed, whole

FUSED = re.compile(
    r"(?P<attention>.*\.(?:self_attn|cross_attention))\.(?P<side>in|out)_proj"
    r"(?:_weight|\.weight|\.(?P<adapter>lora_[AB])\.weight)$"
)
"""Attention weights of all sets in one tensor (modules/transformer.py `_load_hook`)."""

CODEBOOK = {
    "inited": "_initialized",
    "cluster_size": "cluster_usage",
    "embed_avg": "embedding_sum",
    "embed_sum": "embedding_sum",
}
"""Older names (quantization/core_vq.py `_load_from_state_dict`)."""

NamedAssemblies = Iterable[tuple[str | None, TensorAssembly]]


def native_lm(tensors: Tensors, config: LMConfig) -> Renamed:
    """The reference makes `depformer_in` even if it has no depth transformer to feed."""
    depth = config.depformer
    sets = 1 if depth is None else depth.weight_sets
    kept = renamed(
        tensors, lambda name: None if depth is None and name.startswith("depformer_in.") else name
    )
    return hooked(kept, lambda attention: sets if attention.startswith("depformer.") else 1)


def native_mimi(tensors: Tensors, config: MimiConfig) -> Renamed:  # noqa: ARG001
    """Weight norms are folded; a model to distil from (`wavlm_`) is left out."""
    folded = Renamed(tensors, collected(_folded(tensors, name) for name in tensors.shapes()))
    return hooked(renamed(folded, _codebook_name), lambda _: 1)


def hooked(tensors: Tensors, weight_sets: Callable[[str], int]) -> Renamed:
    """Fused attention weights split, alphas of norms flat.

    `weight_sets` returns how many sets the attention at a path has.

    Raises:
        ModelError: a fused weight whose rows do not divide into its sets.
    """
    names = list(tensors.shapes())
    return Renamed(
        tensors,
        collected(pair for name in names for pair in _hooked(tensors, name, weight_sets)),
    )


def _hooked(tensors: Tensors, name: str, weight_sets: Callable[[str], int]) -> NamedAssemblies:
    if fused := FUSED.match(name):
        target = f"{fused['attention']}.{fused['side']}_projs.{{}}."
        target += f"{fused['adapter']}.weight" if fused["adapter"] else "weight"
        return _split(tensors, name, target, weight_sets(fused["attention"]))
    shape = tensors.shapes()[name]
    if name.endswith(".alpha"):
        return [(name, TensorAssembly((Piece(name),), (math.prod(shape),)))]
    if name.endswith(".in_proj_weight_q"):
        return [_rejoined(tensors, name.removesuffix("_q"))]
    if name.endswith(".in_proj_weight_kv"):
        return []
    return [(name, whole(tensors, name))]


def _split(tensors: Tensors, name: str, target: str, sets: int) -> NamedAssemblies:
    rows, *rest = tensors.shapes()[name]
    if rows % sets:
        raise ModelError(f"{name} has {rows} rows, which do not divide into {sets} weight sets")
    height = rows // sets
    for index in range(sets):
        part = slice(index * height, (index + 1) * height)
        yield target.format(index), TensorAssembly((Piece(name, part),), (height, *rest))


def _rejoined(tensors: Tensors, name: str) -> tuple[str, TensorAssembly]:
    """Cross-attention that the Rust code keeps as queries and as keys with values."""
    shapes = tensors.shapes()
    parts = [part for part in (f"{name}_q", f"{name}_kv") if part in shapes]
    rows = sum(shapes[part][0] for part in parts)
    assembly = TensorAssembly(tuple(map(Piece, parts)), (rows, *shapes[parts[0]][1:]))
    return name.replace(".in_proj_weight", ".in_projs.0.weight"), assembly


def _codebook_name(name: str) -> str | None:
    if name.startswith("wavlm_"):
        return None
    prefix, mark, last = name.rpartition("._codebook.")
    return f"{prefix}{mark}{CODEBOOK.get(last, last)}" if mark else name


def _folded(tensors: Tensors, name: str) -> tuple[str | None, TensorAssembly]:
    """`weight_v` and `weight_g` of a convolution as one weight (scripts/import_mimi_pytorch.py)."""
    assembly, base = whole(tensors, name), name[:-2]
    if name.endswith("weight_g") and f"{base}_v" in tensors.shapes():
        return None, assembly
    if name.endswith("weight_v") and f"{base}_g" in tensors.shapes():
        return base, TensorAssembly(
            (Piece(name), Piece(f"{base}_g")), assembly.shape, _weight_norm, "F32"
        )
    return name, assembly


def _weight_norm(parts: Sequence[Array]) -> Array:
    """`v` with the length `g` in each slice of its first axis."""
    v, g = parts
    length = np.linalg.norm(v.reshape(len(v), -1), axis=1).reshape(-1, *[1] * (v.ndim - 1))
    folded: Array = v * (g / length)
    return folded
