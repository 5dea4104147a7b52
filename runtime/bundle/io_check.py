"""Whether an open graph has the inputs and outputs that the manifest gives it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .manifest import GraphSpec

Port = tuple[str, str, tuple[int | str, ...]]
"""A name, a type and a shape, as the manifest writes them."""

ELEMENTS = {"float": "float32"}
"""Types by ONNX Runtime's names where the manifest has others."""


def check_ports(file: Path, spec: GraphSpec, session: Any) -> None:
    """Compares names, types and fixed axes; raises ModelError where a port is another."""
    inputs: list[Port] = [(p.name, p.dtype, p.shape) for p in (*spec.inputs, spec.active)]
    outputs: list[Port] = [(p.name, p.dtype, p.shape) for p in spec.outputs]
    inputs += [(state.input, state.dtype, state.shape) for state in spec.states]
    outputs += [(s.output, s.dtype, s.shape) for s in spec.states if s.output is not None]
    _compare(f"{file}: the input", inputs, session.get_inputs())
    _compare(f"{file}: the output", outputs, session.get_outputs())


def _compare(what: str, expected: Sequence[Port], found: Sequence[Any]) -> None:
    ports = {port.name: port for port in found}
    for name in sorted({name for name, *_ in expected} ^ set(ports)):
        where = "bundle.json" if name in ports else "the graph"
        raise ModelError(f"{what} {name} is not in {where}; {AGAIN}")
    for name, dtype, shape in expected:
        element = ports[name].type.removeprefix("tensor(").removesuffix(")")
        element = ELEMENTS.get(element, element)
        if element != dtype or not _fits(shape, ports[name].shape):
            raise ModelError(
                f"{what} {name} is {element} {ports[name].shape}, where bundle.json has {dtype} "
                f"{list(shape)}; {AGAIN}"
            )


AGAIN = "export or download the bundle again"


def _fits(expected: Sequence[int | str], found: Sequence[int | str | None]) -> bool:
    """Where a graph leaves an axis open any extent fits, and any shape where it has none."""
    if not found:
        return True
    pairs = zip(expected, found, strict=False)
    fixed = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    return len(expected) == len(found) and all(a == b for a, b in fixed)
