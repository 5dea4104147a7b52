"""Attention over a ring of keys and values in 8 bits (com.microsoft.GroupQueryAttention).

Each channel has a step of its own, found by running the model (filling/kv_calibration.py).
The operator reads a quarter of the bytes and writes its new entry behind all others, so the ring
has one slot less than the context has steps, and one behind it.
"""

import numpy as np
import torch
from torch import Tensor

from ...conversion.checkpoint.config import TransformerConfig
from ...conversion.filling.formula import Formula
from ...runtime.typing import Array
from .attention import Frames, Positions, StreamingMultiheadAttention
from .linear import Style
from .step import Below, StateSpec, Step, Weighted, empty


class CacheSteps(Weighted):
    """The steps in which keys and values are counted, `[1, heads, 1, D]`, and the entries read."""

    def __init__(self, heads: int, head_dim: int, context: int) -> None:
        super().__init__()
        self._context = context
        self.keys = empty(1, heads, 1, head_dim)
        self.values = empty(1, heads, 1, head_dim)
        self.length = empty(dtype=torch.int32)

    def source(self, parameter: str, checkpoint: Below) -> Formula | Array:
        if parameter == "length":
            return np.array(self._context, np.int32)
        name, shape = f"{checkpoint.prefix}{parameter}", self.keys.shape
        return Formula("first_steps", (name, *shape))


class RoundedCacheAttention(StreamingMultiheadAttention):
    """The same for one token a call, its ring in 8 bits."""

    def __init__(self, config: TransformerConfig, frames: Frames, style: Style) -> None:
        super().__init__(config, frames, style)
        assert config.context is not None
        self._context = config.context
        self.cache = CacheSteps(self.kv_heads, self.head_dim, config.context)

    def states(self) -> list[StateSpec]:
        shape = (self.kv_heads, self._context, self.head_dim)
        position = f"{self.path.rsplit('.layers.', 1)[0]}.offset"
        return [
            StateSpec(f"{self.path}.{name}", shape, torch.int8, carry="append", position=position)
            for name in ("keys", "values")
        ]

    def attended(self, q: Tensor, k: Tensor, v: Tensor, at: Positions, step: Step) -> Tensor:
        names = [f"{self.path}.keys", f"{self.path}.values"]
        rings = [step.read(name) for name in names]
        last = self._context - 1
        counts = at.offset.clamp(last, last).to(torch.int32)
        steps = self.cache
        y, *written = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            [
                *(q, k, v, *rings, counts, steps.length),
                *(None, None, None, at.bias, None),
                *(steps.keys, steps.values),
            ],
            {
                "num_heads": self.heads,
                "kv_num_heads": self.kv_heads,
                "k_quant_type": "PER_CHANNEL",
                "v_quant_type": "PER_CHANNEL",
                "kv_cache_bit_width": 8,
            },
            dtypes=[q.dtype, torch.int8, torch.int8],
            shapes=[q.shape, *(ring.shape for ring in rings)],
            version=1,
        )
        for name, ring in zip(names, written, strict=True):
            step.appended(name, ring)
        return y


def filled(offset: Tensor, context: int) -> Tensor:
    """Which slots the token of a call sees: those of the ring that hold an entry, and the one
    behind it, bool `[B, 1, context]`."""
    slots = torch.arange(context)
    return ((slots < offset[:, None]) | (slots == context - 1))[:, None]
