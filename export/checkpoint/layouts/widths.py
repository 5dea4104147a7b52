"""The width of gated feed-forwards, which Kyutai's readers derive from the configuration by
different rules (moshi modules/gating.py; 11/4 of the model's width in MLX and Rust): the weights
decide."""

from dataclasses import replace

from ..config import LMConfig, TransformerConfig, gating_hidden
from ..tensors import Tensors

GATE = "layers.0.gating.{}linear_in.weight"


def with_widths(config: LMConfig, tensors: Tensors) -> LMConfig:
    """The configuration with the widths that the canonical tensors have in their first layers."""
    transformer = _with_widths(config.transformer, tensors, "transformer.", 1, indexed=False)
    depth = config.depformer
    if depth is not None:
        sets, indexed = depth.weight_sets, depth.weights_per_step
        inner = _with_widths(depth.transformer, tensors, "depformer.", sets, indexed)
        depth = depth if inner == depth.transformer else replace(depth, transformer=inner)
    return replace(config, transformer=transformer, depformer=depth)


def _with_widths(
    config: TransformerConfig, tensors: Tensors, prefix: str, sets: int, indexed: bool
) -> TransformerConfig:
    shapes = tensors.shapes()
    names = [prefix + GATE.format(f"{index}." if indexed else "") for index in range(sets)]
    if any(len(shapes.get(name, ())) != 2 for name in names):
        return config
    found = tuple(shapes[name][0] // 2 for name in names)
    given = config.feedforwards
    if found == tuple(gating_hidden(config.dim, given[i % len(given)]) for i in range(sets)):
        return config
    widths = tuple(_feedforward(config.dim, hidden) for hidden in found)
    return replace(config, dim_feedforward=widths[0] if len(set(widths)) == 1 else widths)


def _feedforward(dim: int, hidden: int) -> int:
    """The `dim_feedforward` that makes a gating `hidden` wide."""
    first = (3 * hidden + 1) // 2
    fitting = (width for width in (first, first + 1) if gating_hidden(dim, width) == hidden)
    return next(fitting, 4 * dim)
