"""GGUF files, as candle writes Kyutai's quantised models: the header, then one tensor at a time.

Blocks are unpacked by the package `gguf`. Its reader of the container is not used: a damaged count
keeps it busy for ever.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from ...runtime.errors import ModelError
from ...runtime.typing import Array
from .tensor_views import Shape, one_line

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
MOST_AXES = 8
MOST_EXTENT = 1 << 40
LONGEST_NAME = 256

UINT32, STRING, ARRAY = 4, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each plain type of metadata, by its number."""

PLAIN = {
    GGMLQuantizationType.F32: "F32",
    GGMLQuantizationType.F16: "F16",
    GGMLQuantizationType.BF16: "BF16",
}
BLOCKS = (
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
    GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q5_1,
    GGMLQuantizationType.Q8_0,
)
"""The types of values that are read: plain ones, and blocks of 32 that share a scale."""

AGAIN = "download it again, or export from the repository with bf16 weights"


@dataclass(frozen=True)
class GgufEntry:
    """A tensor of the file; `start` counts bytes from the file's beginning."""

    shape: Shape
    kind: GGMLQuantizationType
    start: int

    @property
    def size(self) -> int:
        """In bytes."""
        return _bytes_of(self.kind, math.prod(self.shape))


def _bytes_of(kind: GGMLQuantizationType, values: int) -> int:
    in_block, size = GGML_QUANT_SIZES[kind]
    return values // in_block * size


class GgufFile:
    """One GGUF file of version 2 or 3. Of its metadata only the alignment matters here.

    Raises:
        ModelError: the file is missing, cut short, not of that format, or packs values in a way
            that is not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._entries = dict(_Header(file, path).entries())
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {one_line(error)}") from error
        self._shapes = {name: entry.shape for name, entry in self._entries.items()}

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def dtype(self, name: str) -> str:
        return PLAIN.get(self._entries[name].kind, "U8")

    def read(self, name: str, rows: slice | None = None) -> Array:
        entry = self._entries[name]
        count, *rest = entry.shape or (1,)
        first, stop, _ = (rows or slice(None)).indices(count)
        part = GgufEntry((max(stop - first, 0), *rest), entry.kind, entry.start)
        shape = entry.shape if rows is None else part.shape
        if not part.size:
            return np.empty(shape, np.float32)
        packed = self._bytes(entry.start + first * (part.size // part.shape[0]), part.size)
        row = _bytes_of(entry.kind, shape[-1] if shape else 1)
        with np.errstate(all="ignore"):  # scales of a damaged file may be no numbers
            values: Array = dequantize(packed.reshape(-1, row), entry.kind)
        return values.reshape(shape)

    def _bytes(self, start: int, size: int) -> np.ndarray:
        packed = np.fromfile(self._path, np.uint8, size, offset=start)
        if len(packed) < size:
            raise ModelError(f"{self._path} became shorter while it was read")
        return packed


class _Header:
    """The beginning of a file, read from front to back."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._left = self._total = path.stat().st_size

    def entries(self) -> Iterator[tuple[str, GgufEntry]]:
        """Every tensor by name, all of them wholly inside the file."""
        if self._take(4) != MAGIC:
            raise ModelError(f"{self._path} is not a GGUF file; {AGAIN}")
        self._check_version()
        tensors, metadata = self._uint64(), self._uint64()
        alignment = self._alignment(metadata)
        found = [self._entry() for _ in range(tensors)]
        start = -(-(self._total - self._left) // alignment) * alignment
        if len({name for name, _ in found}) < tensors:
            raise self._damaged("names a tensor twice")
        for name, entry in found:
            if start + entry.start + entry.size > self._total:
                raise self._damaged(f"is cut short: it ends before {name} does")
            yield name, GgufEntry(entry.shape, entry.kind, start + entry.start)

    def _check_version(self) -> None:
        version = self._uint32()
        if version not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            raise ModelError(
                f"{self._path} is of GGUF version {version}; {known} are read, little-endian; "
                "export from the repository with bf16 weights"
            )

    def _alignment(self, metadata: int) -> int:
        alignment = 32
        for _ in range(metadata):
            key, kind = self._text(), self._uint32()
            if key == ALIGNMENT and kind == UINT32:
                alignment = self._uint32()
            else:
                self._skip(kind)
        if alignment < 1:
            raise self._damaged(f"has an alignment of {alignment}")
        return alignment

    def _skip(self, kind: int) -> None:
        if kind in SIZES:
            self._take(SIZES[kind])
        elif kind == STRING:
            self._take(self._uint64())
        elif kind == ARRAY:
            self._skip_array(self._uint32(), self._uint64())
        else:
            raise self._damaged(f"has metadata of an unknown type, {kind}")

    def _skip_array(self, kind: int, count: int) -> None:
        if kind in SIZES:
            self._take(SIZES[kind] * count)
        elif kind == STRING:
            for _ in range(count):
                self._take(self._uint64())
        else:
            raise self._damaged(f"has an array of an unknown type, {kind}")

    def _entry(self) -> tuple[str, GgufEntry]:
        """A tensor's entry, which counts its `start` from the first tensor's."""
        name, axes = self._text(), self._uint32()
        if axes > MOST_AXES:
            raise self._damaged(f"gives {name} {axes} axes")
        shape = tuple(reversed([self._uint64() for _ in range(axes)]))
        if max(shape, default=0) > MOST_EXTENT:
            raise self._damaged(f"gives {name} the shape {list(shape)}")
        kind = self._kind(name, self._uint32())
        width = shape[-1] if shape else 1
        if width % GGML_QUANT_SIZES[kind][0]:
            raise self._damaged(f"packs {name} as {kind.name} with {width} values a row")
        return name, GgufEntry(shape, kind, self._uint64())

    def _kind(self, name: str, number: int) -> GGMLQuantizationType:
        for kind in (*PLAIN, *BLOCKS):
            if kind == number:
                return kind
        known = number in set(GGMLQuantizationType)
        name_of_kind = GGMLQuantizationType(number).name if known else f"type {number}"
        read = ", ".join(kind.name for kind in (*PLAIN, *BLOCKS))
        raise ModelError(
            f"{self._path} packs {name} as {name_of_kind}; of ggml's types {read} are read: "
            "export from the repository with bf16 weights"
        )

    def _text(self) -> str:
        """A name, which messages repeat as it is."""
        text = self._take(self._uint64()).decode("utf-8", errors="replace")
        if "\ufffd" in text or not text.isprintable() or len(text) > LONGEST_NAME:
            raise self._damaged("has a name that is not text")
        return text

    def _uint32(self) -> int:
        return int(struct.unpack("<I", self._take(4))[0])

    def _uint64(self) -> int:
        return int(struct.unpack("<Q", self._take(8))[0])

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise self._damaged("is cut short inside its header")
        self._left -= size
        return self._file.read(size)

    def _damaged(self, how: str) -> ModelError:
        return ModelError(f"{self._path} {how}; {AGAIN}")
