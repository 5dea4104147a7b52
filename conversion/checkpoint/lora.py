"""Low-rank adapters of moshi-finetune: which one is meant, and how it is merged into the weights.

The rules are those of moshi modules/lora.py and models/loaders.py get_lora_moshi.
"""

from collections.abc import Mapping
from pathlib import Path

from ...runtime.errors import ModelError
from ...runtime.typing import Array
from .config import LMConfig, RepositoryConfig
from .config.keys import Keys, located, read_json
from .layouts.moshi_pytorch import hooked
from .repository import HUB, Repository
from .safetensors_file import SafetensorsFile
from .tensor_views import Shape, Tensors, some
from .weights_file import MERGED

A, B = ".lora_A.weight", ".lora_B.weight"
FROZEN = ".frozen_W.weight"


def wants_adapter(
    config: RepositoryConfig, lm_config: LMConfig, lora: str | None, weights: str
) -> bool:
    """Whether an adapter is asked for, by hand or by the configuration of the file `weights`.

    moshi-finetune's configuration says `lora` of weights that have it merged in as well; these it
    names `consolidated.safetensors` (finetune/checkpointing.py).
    """
    if lora is not None or config.lora_name is not None:
        return True
    return lm_config.lora and weights.rpartition("/")[2] != MERGED


def open_adapter(
    repository: Repository, config: RepositoryConfig, lm_config: LMConfig, lora: str | None
) -> tuple[Tensors, float]:
    """A LoRA adapter and its scaling, which a `config.json` beside the adapter may set.

    Raises:
        ModelError: the configuration asks for an adapter that it does not name, or names one that
            it does not ask for.
    """
    name = repository.name
    if lora is not None:
        path, settings = _find_adapter(repository, lora)
        return SafetensorsFile(path), _read_scaling(settings, lm_config.lora_scaling)
    if config.lora_name is None:
        raise ModelError(
            f"{name} sets lora without a lora_name: give the adapter, or set lora to false if "
            "the weights have it merged in"
        )
    if not lm_config.lora:
        raise ModelError(f"{name} names an adapter, {config.lora_name}, but sets lora to false")
    return SafetensorsFile(repository.file(config.lora_name)), lm_config.lora_scaling


def _find_adapter(repository: Repository, lora: str) -> tuple[Path, Path | None]:
    """The adapter and the configuration beside it."""
    path = Path(lora.removeprefix("file://")).expanduser()
    if path.is_file():
        repository.add(path.name, path)
        beside = path.with_name("config.json")
        return path, beside if beside.is_file() else None
    path = repository.file(lora)
    folder = lora.rpartition("/")[0]
    return path, repository.optional(f"{folder}/config.json") if lora.startswith(HUB) else None


def _read_scaling(settings: Path | None, default: float) -> float:
    if settings is None:
        return default
    with located(str(settings)):
        return Keys(read_json(settings)).number("lora_scaling", default)


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

    def dtype(self, name: str) -> str:
        return "F32" if name in self._adapted else self._base.dtype(name)

    def read(self, name: str, rows: slice | None = None) -> Array:
        weight = self._frozen(name)
        if name in self._adapted:
            path = name.removesuffix(".weight")
            a, b = self._adapter.read(path + A), self._adapter.read(path + B)
            weight = weight + self._scaling * (b @ a)
        return weight if rows is None else weight[rows]

    def _frozen(self, name: str) -> Array:
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
        """The shape of `B @ A`; empty if there is no such product."""
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
