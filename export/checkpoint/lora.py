"""Low-rank adapters of moshi-finetune, merged into the weights that they adapt.

The rules are those of moshi modules/lora.py and models/loaders.py get_lora_moshi.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...runtime.errors import ModelError
from .layouts.native import hooked
from .tensors import Shape, Tensors, some

A, B = ".lora_A.weight", ".lora_B.weight"
FROZEN = ".frozen_W.weight"


class Lora:
    """`base` with `adapter` merged in: `W + scaling * (B @ A)`, in float32, when it is read.

    The adapter may also replace whole tensors, and need not cover all of the base. Its attention
    weights may be stacked over weight sets, as older adapters have them.

    Raises:
        ModelError: the adapter names tensors that the base lacks, holds half of a pair, or has
            shapes that do not fit.
    """

    def __init__(self, base: Tensors, adapter: Tensors, scaling: float) -> None:
        sets = _weight_sets(base)
        self._base = base
        self._adapter = hooked(adapter, lambda attention: sets.get(attention, 1))
        self._scaling = scaling
        names = self._adapter.shapes()
        self._adapted = {f"{name.removesuffix(A)}.weight" for name in names if name.endswith(A)}
        self._replaced = {
            name.removesuffix(FROZEN) + ".weight" if name.endswith(FROZEN) else name: name
            for name in names
            if not name.endswith((A, B))
        }
        self._check()

    def shapes(self) -> Mapping[str, Shape]:
        return self._base.shapes()

    def dtype(self, name: str) -> torch.dtype:
        return self._base.dtype(name)

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        weight = self._frozen(name)
        if name in self._adapted:
            path = name.removesuffix(".weight")
            a, b = self._adapter.read(path + A), self._adapter.read(path + B)
            weight = weight + self._scaling * (b @ a)
        return weight if rows is None else weight[rows]

    def _frozen(self, name: str) -> Tensor:
        if name in self._replaced:
            return self._adapter.read(self._replaced[name])
        return self._base.read(name)

    def _check(self) -> None:
        base, adapter = self._base.shapes(), self._adapter.shapes()
        halves = {f"{name.removesuffix(B)}.weight" for name in adapter if name.endswith(B)}
        if lone := sorted(self._adapted ^ halves):
            raise ModelError(f"the adapter has only one of lora_A and lora_B for {some(lone)}")
        if unknown := [n for n in (*self._adapted, *self._replaced) if n not in base]:
            raise ModelError(f"the adapter is of another model, which has {some(sorted(unknown))}")
        misfits = [name for name in self._adapted if self._product(name) != base[name]]
        misfits += [n for n, own in self._replaced.items() if adapter[own] != base[n]]
        if misfits:
            raise ModelError(f"the adapter does not fit the shape of {some(sorted(misfits))}")

    def _product(self, name: str) -> Shape:
        """The shape of `B @ A`; none where there is no such product."""
        shapes, path = self._adapter.shapes(), name.removesuffix(".weight")
        a, b = shapes[path + A], shapes[path + B]
        return (b[0], a[1]) if len(a) == len(b) == 2 and b[1] == a[0] else ()


def _weight_sets(base: Tensors) -> dict[str, int]:
    """How many weight sets each attention of the base has, by its path."""
    sets: dict[str, int] = {}
    for name in base.shapes():
        attention, mark, _ = name.partition(".in_projs.")
        if mark:
            sets[attention] = sets.get(attention, 0) + 1
    return sets
