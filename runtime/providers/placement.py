"""Which execution provider runs which operators of an open graph."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

SHAPE_OPERATORS = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Mul", "Range",
    "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze",
})  # fmt: skip
"""Operators on the sizes of tensors. Every provider here has them for numbers; ONNX Runtime puts
those on the CPU that work out a shape, and wants them there."""

Placement = Mapping[str, Counter[str]]
"""How many nodes of which operator each provider runs, by ONNX Runtime's name of it."""


def placement(session: Any) -> Placement:
    """Where the nodes of a session lie; empty where onnxruntime is too old to tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = found.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return found


def elsewhere(placed: Placement, asked: str) -> Placement:
    """Of a placement what computes on another provider than the one asked for, less shapes."""
    others = {
        name: Counter({op: n for op, n in operators.items() if op not in SHAPE_OPERATORS})
        for name, operators in placed.items()
        if name != asked
    }
    return {name: operators for name, operators in others.items() if operators}
