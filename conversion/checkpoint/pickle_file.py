"""Checkpoints of `torch.save`, where training keeps them, read without running what they hold."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...runtime.errors import ModelError
from ...runtime.typing import Array
from .tensor_views import Shape, one_line

CONTAINERS = (("fsdp_best_state", "model"), ("best_state", "model"), ("model",))
"""Where a training checkpoint keeps its tensors (moshi models/loaders.py, scripts/import_*.py)."""


DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.uint32: "U32",
    torch.bool: "BOOL",
}
"""Names of types in safetensors."""


class InMemory:
    """Tensors of torch that are there already."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        dtype = self._tensors[name].dtype
        return DTYPES.get(dtype, str(dtype))

    def read(self, name: str, rows: slice | None = None) -> Array:
        tensor = self._tensors[name].detach()
        part = tensor if rows is None else tensor[rows]
        values: Array = (part.float() if part.dtype.is_floating_point else part).numpy()
        return values


class PickleFile(InMemory):
    """A checkpoint of `torch.save`, read without running any code that it may hold.

    Raises:
        ModelError: the file is missing, unreadable, or holds more than plain data and tensors.
    """

    def __init__(self, path: Path) -> None:
        try:
            package = _loaded(path)
        except Exception as error:  # torch raises whatever pickle, struct, zipfile and itself do
            raise ModelError(
                f"{path} cannot be read as a PyTorch checkpoint of plain tensors: "
                f"{one_line(error)}; convert it to safetensors on a machine that trusts it"
            ) from error
        super().__init__(_unpacked(package, path))


def _loaded(path: Path) -> object:
    mapped = zipfile.is_zipfile(path)
    with warnings.catch_warnings(action="ignore"):  # of protocols that torch does not write
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _unpacked(package: object, path: Path) -> dict[str, Tensor]:
    for container in CONTAINERS:
        found: object = package
        for key in container:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            package = found
            break
    if not isinstance(package, Mapping) or not all(map(torch.is_tensor, package.values())):
        raise ModelError(f"{path} holds no named tensors where a Kyutai checkpoint has them")
    return dict(package)
