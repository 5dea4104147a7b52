"""The signature of a node's operator: its version, and the type variable of each input and output.

ONNX's own operators come from `onnx.defs`; the operators that ONNX Runtime adds (`com.microsoft`
and a few in ONNX's domain), all of version 1, from `schemas.json`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import onnx

from .table import read_data

ELEMENT_TYPES = frozenset(name.lower() for name in onnx.TensorProto.DataType.keys())  # noqa: SIM118


@dataclass(frozen=True)
class Signature:
    """An operator at one version; `inputs` and `outputs` hold type variables or element types."""

    since: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    single: Mapping[str, str]
    """The type variables that can be bound to one element type only."""

    def input_types(self, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        """(value, type variable or element type) of every input that is there."""
        return _named(node.input, self.inputs)

    def output_types(self, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        """(value, type variable or element type) of every output that is there."""
        return _named(node.output, self.outputs)


def domain_of(node: onnx.NodeProto) -> str:
    """The node's domain, ONNX's own spelled out."""
    return node.domain or "ai.onnx"


def opset_versions(model: onnx.ModelProto) -> dict[str, int]:
    """The opset version of every domain that the model imports."""
    return {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}


def signature(node: onnx.NodeProto, opsets: Mapping[str, int]) -> Signature | None:
    """The signature of the node's operator in these opsets; None if no schema is known."""
    domain = domain_of(node)
    added = _added().get((domain, node.op_type))
    if added is not None:
        return added
    if domain not in opsets:
        return None
    return _standard(node.op_type, opsets[domain], node.domain.removeprefix("ai.onnx"))


@cache
def _standard(operator: str, opset: int, domain: str) -> Signature | None:
    try:
        schema = onnx.defs.get_schema(operator, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return Signature(
        since=schema.since_version,
        inputs=tuple(_plain(formal.type_str) for formal in schema.inputs),
        outputs=tuple(_plain(formal.type_str) for formal in schema.outputs),
        single={
            constraint.type_param_str: _plain(constraint.allowed_type_strs[0])
            for constraint in schema.type_constraints
            if len(constraint.allowed_type_strs) == 1
        },
    )


@cache
def _added() -> dict[tuple[str, str], Signature]:
    return {
        (domain, operator): Signature(
            1, tuple(entry["inputs"].split()), tuple(entry["outputs"].split()), {}
        )
        for domain, operators in read_data("schemas.json")["operators"].items()
        for operator, entry in operators.items()
    }


def _named(values: Sequence[str], formals: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Values with their formals; the last formal repeats, as a variadic one does."""
    for index, value in enumerate(values):
        if value and formals:
            yield value, formals[min(index, len(formals) - 1)]


def _plain(type_str: str) -> str:
    """A type variable unchanged, "tensor(int64)" as "int64"."""
    return type_str.removeprefix("tensor(").removesuffix(")")
