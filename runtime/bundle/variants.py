"""`variants.json` of a repository: the bundles of one model in it, one in each folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from packaging.version import Version

from ..errors import ModelError
from .dataclass_json import OneLine, parse, parse_json, read_bounded
from .manifest import VERSION, Family, Precision, Target

INDEX = "variants.json"
FORMAT = "kyutai-onnx-variants"
FORMAT_VERSION = 1
FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")

Text = Annotated[str, OneLine()]


@dataclass(frozen=True)
class Variant:
    """A bundle in a folder of a repository: its size in bytes, and the SHA-256 of its manifest."""

    folder: str
    target: Target
    precision: Precision
    minimum_onnxruntime: str
    bytes: int
    sha256: Text

    def __str__(self) -> str:
        return (
            f"{self.folder} ({self.precision} for {self.target}, onnxruntime "
            f"{self.minimum_onnxruntime} or newer)"
        )


@dataclass(frozen=True)
class VariantIndex:
    """The whole of `variants.json`."""

    format: str
    format_version: int
    name: Text
    family: Family
    variants: tuple[Variant, ...]

    def choose(
        self,
        target: Target | None,
        precision: Precision | None,
        defaults: dict[Target, Precision],
        onnxruntime: str,
    ) -> Variant:
        """Return the variant for a target and a precision that an onnxruntime runs.

        Without a target it is the CPU, without a precision that of `defaults`; if there is none of
        these, the only one that fits what is given. Raises ModelError, with all that there are.
        """
        wanted = [
            one
            for one in self.variants
            if target in (None, one.target) and precision in (None, one.precision)
        ]
        fitting = [
            one for one in wanted if Version(one.minimum_onnxruntime) <= Version(onnxruntime)
        ]
        usual = [
            one
            for one in fitting
            if one.target == (target or "cpu")
            and one.precision == (precision or defaults[one.target])
        ]
        if len(chosen := usual or fitting) == 1:
            return chosen[0]
        too_old = wanted and not fitting
        step = "upgrade onnxruntime" if too_old else "choose with --provider and --precision"
        wish = f"{precision or 'any precision'} for {target or 'any target'}"
        raise ModelError(
            f"{len(chosen) or 'no'} variants of {self.name} fit {wish} and onnxruntime "
            f"{onnxruntime}; there are: {', '.join(map(str, self.variants)) or 'none'}; "
            f"{step}"
        )


def read_index(file: Path) -> VariantIndex:
    """Read and check `variants.json`; raises ModelError."""
    try:
        index = parse(VariantIndex, parse_json(read_bounded(file)))
        _check(index)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file}: not a valid index of variants ({error}); ask its publisher, or upgrade "
            "kyutai-onnx"
        ) from None
    return index


def _check(index: VariantIndex) -> None:
    if (index.format, index.format_version) != (FORMAT, FORMAT_VERSION):
        raise ValueError(f"format {index.format!r}, version {index.format_version}")
    for one in index.variants:
        if not FOLDER.fullmatch(one.folder):
            raise ValueError(f"folder {one.folder!r}")
        if not VERSION.fullmatch(one.minimum_onnxruntime):
            raise ValueError(f"minimum_onnxruntime {one.minimum_onnxruntime!r}")
