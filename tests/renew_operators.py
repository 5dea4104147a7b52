"""Renews export/graphs/operators/cpu.json and schemas.json from the installed onnxruntime.

    python tests/renew_operators.py

The table keeps its list of operators. Their versions and types come from the kernel registry. To
find the float16 that ONNX Runtime runs between Casts, and the types of an operator that runs by its
function body, one-node models are loaded. Prints each entry that changed.
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.defs import OpSchema
from onnxruntime.capi import onnxruntime_pybind11_state as state

FOLDER = Path(__file__).parents[1] / "export" / "operators"
OPSETS = range(17, 25)
OPEN = 2**31 - 1
# fmt: off
TYPES = (
    "float", "float16", "bfloat16", "double", "int64", "int32", "int16", "int8",
    "uint64", "uint32", "uint16", "uint8", "bool", "int4", "uint4",
)
# fmt: on
"""The element types that tables name, in the order in which they name them."""
ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "Cast": {"to": TensorProto.FLOAT},
    "Concat": {"axis": 0},
    "Einsum": {"equation": "i->i"},
}
"""What an operator needs besides its inputs to be loaded."""

RELEASE, DATE = re.compile(r"\d+\.\d+\.\d+"), re.compile(r"\d{4}-\d\d-\d\d")
Formal = OpSchema.FormalParameter


@dataclass(frozen=True)
class Kernel:
    """One entry of a table, before it is written."""

    since: tuple[tuple[int, int], ...]
    types: Mapping[str, frozenset[str]]
    cast: Mapping[str, frozenset[str]]
    function: bool = False

    def written(self) -> str:
        """The entry on one line of JSON."""
        entry: dict[str, Any] = {
            "since": " ".join(_range(*versions) for versions in sorted(self.since)),
            "types": {name: _in_order(types) for name, types in self.types.items()},
        }
        if self.cast:
            entry["cast"] = {name: _in_order(types) for name, types in self.cast.items()}
        if self.function:
            entry["function"] = True
        return json.dumps(entry)


def _range(first: int, last: int) -> str:
    if last == OPEN:
        return f"{first}+"
    return f"{first}" if first == last else f"{first}-{last}"


def _in_order(types: frozenset[str]) -> str:
    return " ".join(sorted(types, key=TYPES.index))


def is_standard(domain: str, operator: str) -> bool:
    """Whether ONNX defines the operator, and not ONNX Runtime."""
    return domain == "ai.onnx" and onnx.defs.has(operator)


def versions(domain: str, operator: str) -> dict[int, list[int]]:
    """Each version of an operator that is current in `OPSETS`, with the opsets that have it."""
    if not is_standard(domain, operator):
        return {1: [*OPSETS]}
    found: dict[int, list[int]] = {}
    for opset in OPSETS:
        with suppress(onnx.defs.SchemaError):
            schema = onnx.defs.get_schema(operator, opset)
            found.setdefault(schema.since_version, []).append(opset)
    return found


def variables(domain: str, operator: str) -> set[str]:
    """The type variables of an operator, over all versions."""
    return {
        constraint.type_param_str
        for schema in state.get_all_operator_schema()
        if (schema.domain or "ai.onnx", schema.name) == (domain, operator)
        for constraint in schema.type_constraints
    }


def registered(domain: str, operator: str) -> list[Kernel]:
    """The entries of an operator in the kernel registry, alike ones joined."""
    current, named = versions(domain, operator), variables(domain, operator)
    kernels = []
    for kernel in state.get_all_opkernel_def():
        if (kernel.domain or "ai.onnx", kernel.op_name) != (domain, operator):
            continue
        first, last = kernel.version_range
        types = {
            name: frozenset(map(plain, types)) & frozenset(TYPES)
            for name, types in kernel.type_constraints.items()
            if name in named
        }
        matches = first in current if last == OPEN else any(first <= v <= last for v in current)
        if matches and all(types.values()):
            kernels.append(Kernel(((first, last),), types, {}))
    return joined(joined(kernels, in_types), in_versions)


def joined(kernels: list[Kernel], join: Callable[[Kernel, Kernel], Kernel | None]) -> list[Kernel]:
    """The kernels, with two made one by `join` as long as it can."""
    for one, other in itertools.combinations(kernels, 2):
        if both := join(one, other):
            rest = [kernel for kernel in kernels if kernel is not other]
            rest[rest.index(one)] = both
            return joined(rest, join)
    return kernels


def in_types(one: Kernel, other: Kernel) -> Kernel | None:
    """Both, if they differ in the types of one variable."""
    if one.since != other.since or one.types.keys() != other.types.keys():
        return None
    if sum(one.types[name] != other.types[name] for name in one.types) > 1:
        return None
    return replace(one, types={name: one.types[name] | other.types[name] for name in one.types})


def in_versions(one: Kernel, other: Kernel) -> Kernel | None:
    """Both, if they differ in versions."""
    if one.types != other.types:
        return None
    return replace(one, since=(*one.since, *other.since))


def plain(type_str: str) -> str:
    """The element type of "tensor(float)", or the text itself."""
    return type_str.removeprefix("tensor(").removesuffix(")")


def with_casts(operator: str, kernel: Kernel) -> Kernel:
    """The kernel, with the variables that take a float16 which ONNX Runtime casts."""
    opset = max(
        opsets[-1]
        for version, opsets in versions("ai.onnx", operator).items()
        if any(first <= version <= last for first, last in kernel.since)
    )
    schema = onnx.defs.get_schema(operator, opset)
    used = {f.type_str for f in (*_inputs(schema), *_needed(schema.outputs))}
    bound = {name: min(types, key=TYPES.index) for name, types in kernel.types.items()}
    cast = {
        name: frozenset(["float16"])
        for name, types in kernel.types.items()
        if name in used and "float" in types and "float16" not in types
        if loads(operator, opset, {**bound, name: "float16"})
    }
    return replace(kernel, cast=cast)


def functions(operator: str) -> list[Kernel]:
    """The entries of an operator without kernels: the types in which its function body loads."""
    kernels = []
    for version, opsets in versions("ai.onnx", operator).items():
        schema = onnx.defs.get_schema(operator, opsets[0])
        (variable,) = [constraint.type_param_str for constraint in schema.type_constraints]
        runs = frozenset(
            kind
            for kind in TYPES
            if all(loads(operator, opset, {variable: kind}) for opset in opsets)
        )
        if runs:
            kernels.append(Kernel(((version, version),), {variable: runs}, {}, function=True))
    return kernels


def loads(operator: str, opset: int, types: Mapping[str, str]) -> bool:
    """Whether the CPU loads a graph of this node alone, its type variables bound to `types`."""
    schema = onnx.defs.get_schema(operator, opset)
    bound = {
        constraint.type_param_str: plain(constraint.allowed_type_strs[0])
        for constraint in schema.type_constraints
    } | dict(types)
    inputs, outputs = _inputs(schema), _needed(schema.outputs)
    named = {formal.name for formal in inputs}
    node = helper.make_node(
        operator,
        [formal.name if formal.name in named else "" for formal in schema.inputs],
        [f"{formal.name}_" for formal in outputs],
        **ATTRIBUTES.get(operator, {}),
    )
    graph = helper.make_graph(
        [node],
        "one",
        [_value(formal.name, formal.type_str, bound) for formal in inputs],
        [_value(f"{formal.name}_", formal.type_str, bound) for formal in outputs],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # onnxruntime raises a class for each status
        return False
    return True


def _needed(formals: Sequence[Formal]) -> list[Formal]:
    return [f for f in formals if f.option != OpSchema.FormalParameterOption.Optional]


def _inputs(schema: OpSchema) -> list[Formal]:
    """The inputs that a node must have, and one for each type variable that these leave open."""
    needed = _needed(schema.inputs)
    free = {one.type_param_str for one in schema.type_constraints} - {f.type_str for f in needed}
    for formal in schema.inputs:
        if formal.type_str in free:
            needed.append(formal)
            free.remove(formal.type_str)
    return needed


def _value(name: str, type_str: str, bound: Mapping[str, str]) -> onnx.ValueInfoProto:
    kind = bound.get(type_str, plain(type_str)).upper()
    return helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), None)


def entries(domain: str, operator: str) -> list[str]:
    """The lines of an operator in the table."""
    kernels = registered(domain, operator)
    if is_standard(domain, operator):
        kernels = [with_casts(operator, kernel) for kernel in kernels] or functions(operator)
    return [kernel.written() for kernel in kernels]


def schemas() -> dict[tuple[str, str], str]:
    """The line of each operator that ONNX Runtime adds, in schemas.json."""
    return {
        (schema.domain or "ai.onnx", schema.name): json.dumps(
            {
                side: " ".join(plain(formal.typeStr) for formal in formals)
                for side, formals in (("inputs", schema.inputs), ("outputs", schema.outputs))
            }
        )
        for schema in state.get_all_operator_schema()
        if schema.since_version == 1
    }


def renew(name: str, line: Callable[[str, str], str]) -> None:
    """Rewrites a file. `line` returns the JSON of an operator from its domain and name."""
    path = FOLDER / name
    data = json.loads(path.read_text(encoding="utf-8"))
    data["source"] = RELEASE.sub(onnxruntime.__version__, data["source"], count=1)
    data["source"] = DATE.sub(f"{datetime.now(UTC):%Y-%m-%d}", data["source"], count=1)
    if "onnxruntime" in data:
        data["onnxruntime"] = onnxruntime.__version__
    domains = []
    for domain, operators in data["operators"].items():
        lines = []
        for operator, old in operators.items():
            new = line(domain, operator)
            lines.append(f"   {json.dumps(operator)}: {new}")
            if json.loads(new) != old:
                print(f"{name}: {domain} {operator}: {json.dumps(old)} -> {' '.join(new.split())}")
        domains.append(f"  {json.dumps(domain)}: {{\n" + ",\n".join(lines) + "\n  }")
    data["operators"] = "OPERATORS"
    text = json.dumps(data, indent=1, ensure_ascii=False)
    text = text.replace('"OPERATORS"', "{\n" + ",\n".join(domains) + "\n }")
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew("cpu.json", lambda *operator: "[\n    " + ",\n    ".join(entries(*operator)) + "\n   ]")
    known = schemas()
    renew("schemas.json", lambda *operator: known[operator])
