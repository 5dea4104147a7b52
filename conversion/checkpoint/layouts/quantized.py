"""Quantised weights as plain ones, multiplied out in float32 when they are read.

Two forms beside the layouts: bitsandbytes' rows of int8 (moshi utils/quantize.py) and MLX's groups
of packed integers (`mlx.nn.quantize`). Whatever the layout calls a weight, its scales are named
after it.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ....runtime.errors import ModelError
from ....runtime.typing import Array
from ..tensor_views import Piece, Renamed, TensorAssembly, Tensors, some, whole

ROW_SCALES = "_scb"
GROUP_PARTS = (".weight", ".scales", ".biases")
BITS = (2, 4, 8)
"""Widths that MLX packs within a byte."""

ANCHORS = ("text_emb", "text_linear", "audio_embs.0", "emb.0")
"""Weights whose rows are as wide as the model, in every layout that MLX quantises."""

PACKED = ("I8", "U8", "U32")
"""What quantised weights are stored as."""

ADVICE = "download the file again, or export from the repository with bf16 weights"


def is_quantized(tensors: Tensors) -> bool:
    """Whether any weight holds integers."""
    return any(tensors.dtype(name) in PACKED for name in _weights(tensors))


def dequantized(tensors: Tensors, dim: int) -> Tensors:
    """The same weights without scales beside them; what is plain already stays as it is.

    `dim` is the language model's width, from which the bits that MLX packed follow.

    Raises:
        ModelError: scales are missing, superfluous, or do not fit their weight.
    """
    assemblies = dict(_by_row(tensors)) | dict(_by_group(tensors, dim))
    used = {piece.name for assembly in assemblies.values() for piece in assembly.pieces}
    bare = [n for n in _weights(tensors) if tensors.dtype(n) == "I8" and n not in used]
    if bare:
        raise ModelError(f"{some(bare)} hold int8 without their scales ({ROW_SCALES}); {ADVICE}")
    if not assemblies:
        return tensors
    plain = {name: whole(tensors, name) for name in tensors.shapes() if name not in used}
    return Renamed(tensors, assemblies | plain)


def _weights(tensors: Tensors) -> Iterator[str]:
    return (name for name in tensors.shapes() if name.endswith("weight"))


def _by_row(tensors: Tensors) -> Iterator[tuple[str, TensorAssembly]]:
    """bitsandbytes: the largest of each row is 127."""
    shapes = tensors.shapes()
    for scales in shapes:
        if not scales.endswith(ROW_SCALES):
            continue
        name = scales.removesuffix(ROW_SCALES)
        if name not in shapes:
            raise ModelError(f"{scales} has no {name} to scale; {ADVICE}")
        if tensors.dtype(name) != "I8" or shapes[scales] != shapes[name][:1]:
            raise ModelError(f"{scales} does not fit {name} as scales of its rows; {ADVICE}")
        yield name, TensorAssembly((Piece(name), Piece(scales)), shapes[name], _rows_scaled)


def _rows_scaled(parts: Sequence[Array]) -> Array:
    codes, scales = parts
    values: Array = codes.astype(np.float32)
    values *= scales[:, None]
    values /= 127
    return values


def _by_group(tensors: Tensors, dim: int) -> Iterator[tuple[str, TensorAssembly]]:
    """MLX: every few weights of a row share a scale and a bias."""
    shapes = tensors.shapes()
    bases = {n.removesuffix(part) for part in GROUP_PARTS[1:] for n in shapes if n.endswith(part)}
    words = (name for name in _weights(tensors) if tensors.dtype(name) == "U32")
    bases |= {name.removesuffix(".weight") for name in words}
    if not bases:
        return
    for base in bases:
        _check_parts(tensors, base)
    bits = _bits(tensors, dim)
    for base in sorted(bases):
        names = [base + part for part in GROUP_PARTS]
        rows, width = shapes[names[0]][0], shapes[names[0]][1] * 32 // bits
        groups = shapes[names[1]][1]
        if not groups or width % groups:
            raise ModelError(
                f"{base}.scales has {groups} groups for {width} weights of {bits} bits; {ADVICE}"
            )
        assembly = TensorAssembly(
            tuple(map(Piece, names)), (rows, width), partial(_groups_scaled, bits)
        )
        yield names[0], assembly


def _check_parts(tensors: Tensors, base: str) -> None:
    shapes = tensors.shapes()
    weight, scales, biases = (base + part for part in GROUP_PARTS)
    if missing := [name for name in (weight, scales, biases) if name not in shapes]:
        raise ModelError(f"{base} is quantised in MLX's form without {some(missing)}; {ADVICE}")
    same = shapes[scales] == shapes[biases] and shapes[scales][:-1] == shapes[weight][:-1]
    if tensors.dtype(weight) != "U32" or len(shapes[weight]) != 2 or not same:
        raise ModelError(f"{scales} and {biases} do not fit {weight} as MLX packs it; {ADVICE}")


def _bits(tensors: Tensors, dim: int) -> int:
    """Bits of a weight, from a tensor of known width: MLX packs the whole model alike."""
    shapes = tensors.shapes()
    packed = [f"{a}.weight" for a in ANCHORS if f"{a}.scales" in shapes]
    if not packed:
        raise ModelError(f"none of {', '.join(ANCHORS)} is quantised as the rest is; {ADVICE}")
    words = shapes[packed[0]][1]
    if words * 32 not in [dim * bits for bits in BITS]:
        read = ", ".join(map(str, BITS))
        raise ModelError(
            f"{packed[0]} packs {dim} weights into {words} words, which is none of {read} bits "
            "each; export from the repository with bf16 weights"
        )
    return words * 32 // dim


def _groups_scaled(bits: int, parts: Sequence[Array]) -> Array:
    words, scales, biases = parts
    values: Array = _unpacked(words, bits).astype(np.float32).reshape(*scales.shape, -1)
    values *= scales[..., None]
    values += biases[..., None]
    return values.reshape(len(values), -1)


def _unpacked(words: Array, bits: int) -> Array:
    """uint8 `[rows, width]` from uint32 `[rows, words]`, the lowest bits first.

    The bytes of a word are taken as they lie, lowest first.
    """
    packed = np.ascontiguousarray(words).view(np.uint8)
    shifts = range(0, 8, bits)
    codes = np.stack([packed >> shift & (2**bits - 1) for shift in shifts], -1)
    return codes.reshape(len(codes), -1)
