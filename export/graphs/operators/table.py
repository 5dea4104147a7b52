"""The support table of one execution provider, read from its JSON file.

    {"provider", "execution_provider", "onnxruntime", "source",
     "operators": {domain: {operator: [{"since", "types", "cast"?, "option"?, "function"?}]}},
     "constraints": {operator or topic: what the types and versions do not say}}

`since` holds the versions, separated by spaces: "22" and "22+" (an open registration) stand for
version 22 alone, "11-21" for all inside (onnxruntime core/framework/kernel_registry.cc,
VerifyVersion). `types` maps a type variable of the operator's schema to its element types; `cast`
adds those that run between Casts to float32. `option` names a provider option without which the
entry does not exist, `function` an operator that runs through its ONNX function body. An operator
that is absent has no kernel.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ....runtime.errors import UsageError

PROVIDERS = ("cpu", "cuda", "directml", "webgpu", "coreml")


@dataclass(frozen=True)
class Kernel:
    """One entry: versions of an operator that run with these element types."""

    since: str
    versions: tuple[range, ...]
    types: Mapping[str, frozenset[str]]
    """Element types by type variable, casts included; a variable that is absent takes any type."""
    option: str | None = None
    function: bool = False

    def runs_version(self, since: int) -> bool:
        return any(since in versions for versions in self.versions)

    def refused(self, bound: Mapping[str, str]) -> list[str]:
        """The type variables in `bound` whose element type this kernel lacks."""
        return [
            name
            for name, element in bound.items()
            if name in self.types and element not in self.types[name]
        ]


@dataclass(frozen=True)
class Table:
    """What one execution provider runs, and where that is known from."""

    provider: str
    execution_provider: str
    onnxruntime: str
    source: str
    operators: Mapping[tuple[str, str], tuple[Kernel, ...]]
    """Kernels by (domain, operator); ONNX's own domain is spelled "ai.onnx"."""
    constraints: Mapping[str, str]


@cache
def load_table(provider: str) -> Table:
    """The table of `provider`, one of `PROVIDERS`. Raises `UsageError` for any other name."""
    if provider not in PROVIDERS:
        raise UsageError(f"no operator table for {provider!r}: choose from {', '.join(PROVIDERS)}")
    data = read_data(f"{provider}.json")
    operators = {
        (domain, operator): tuple(_kernel(entry) for entry in entries)
        for domain, by_name in data["operators"].items()
        for operator, entries in by_name.items()
    }
    return Table(
        provider=data["provider"],
        execution_provider=data["execution_provider"],
        onnxruntime=data["onnxruntime"],
        source=data["source"],
        operators=operators,
        constraints=data["constraints"],
    )


def read_data(name: str) -> dict[str, Any]:
    """A data file of this package."""
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def parse_versions(since: str) -> tuple[range, ...]:
    """The versions that "11-21 22+" stands for. Raises `ValueError` if it is malformed."""
    return tuple(_versions(part) for part in since.split())


def _versions(part: str) -> range:
    first, dash, last = part.partition("-")
    start = int(first.removesuffix("+")) if not dash else int(first)
    stop = int(last) if dash else start
    if not 1 <= start <= stop:
        raise ValueError(f"versions {part!r} are not in order")
    return range(start, stop + 1)


def _kernel(entry: Mapping[str, Any]) -> Kernel:
    cast: Mapping[str, str] = entry.get("cast", {})
    return Kernel(
        since=entry["since"],
        versions=parse_versions(entry["since"]),
        types={
            name: frozenset(f"{types} {cast.get(name, '')}".split())
            for name, types in entry["types"].items()
        },
        option=entry.get("option"),
        function=entry.get("function", False),
    )
