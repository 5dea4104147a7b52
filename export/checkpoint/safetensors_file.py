"""Safetensors files, alone or in shards."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...runtime.bundle.dataclass_json import parse_json, read_bounded
from ...runtime.bundle.manifest import is_inside
from ...runtime.errors import ModelError
from .tensor_views import Shape, as_float32, one_line, some

SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsFile:
    """One safetensors file, mapped into memory while a tensor is read: pages that stayed mapped
    would count as this process's memory.

    Raises:
        ModelError: the file is missing, cut short, or not of that format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            self._shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            self._dtypes = {name: str(part.get_dtype()) for name, part in slices.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        stored = self._dtypes[name]
        if stored not in SAFETENSORS_DTYPES:
            raise ModelError(f"{name} is stored as {stored}, which is not read")
        return SAFETENSORS_DTYPES[stored]

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        with self._open() as file:
            tensor: Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
            return as_float32(tensor)

    def _open(self) -> Any:
        try:
            return safe_open(self._path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self._path} is not a whole safetensors file: {one_line(error)}"
            ) from error


class SafetensorsShards:
    """Several safetensors files and the index that says which holds what.

    `locate` turns a file name of the index into a path; by default its neighbour.

    Raises:
        ModelError: the index or a file is missing or damaged, or they disagree.
    """

    def __init__(self, index: Path, locate: Callable[[str], Path] | None = None) -> None:
        places = _read_index(index)
        locate = locate or (lambda name: index.parent / name)
        files = {name: SafetensorsFile(locate(name)) for name in sorted(set(places.values()))}
        self._holders = {name: files[place] for name, place in places.items()}
        lost = [name for name, holder in self._holders.items() if name not in holder.shapes()]
        if lost:
            raise ModelError(f"{index} names tensors that its files lack: {some(lost)}")
        self._shapes = {name: holder.shapes()[name] for name, holder in self._holders.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        return self._holders[name].dtype(name)

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        return self._holders[name].read(name, rows)


def _read_index(index: Path) -> dict[str, str]:
    try:
        content = parse_json(read_bounded(index))
    except (OSError, ValueError) as error:
        raise ModelError(f"{index} is not an index of safetensors: {one_line(error)}") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} is not an index of safetensors: it has no weight_map of names")
    if outside := [name for name in places.values() if not is_inside(name)]:
        raise ModelError(f"{index} names the file {outside[0][:100]!r}, which is not beside it")
    return places
