"""Causal attention over a ring of keys and values (moshi modules/transformer.py).

The ring is a state, written first and read whole; what a query may see is a matter of positions
alone. The reference writes the tokens of one call before it attends, so with `tokens_per_frame`
tokens a frame and one frame a call a query sees the keys after `frame end - context`. Counting from
the end of the query's own frame gives that for any number of frames a call, provided that the
ring is large enough not to lose a key that an earlier frame of the call still sees.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...conversion.checkpoint.config import TransformerConfig
from ...conversion.filling.formula import Formula
from ...runtime.typing import Array
from .linear import Style, as_stored
from .opset_dialect import OpsetDialect
from .step import Below, Stateful, StateSpec, Step, Weighted, empty


@dataclass(frozen=True)
class Frames:
    """How many tokens a frame holds, and how many frames one call may bring at most."""

    tokens: int = 1
    most: int = 1

    @property
    def single(self) -> bool:
        """Whether every call brings exactly one token."""
        return self.tokens == 1 and self.most == 1

    def capacity(self, context: int) -> int:
        """Slots that a ring needs."""
        return context + self.tokens * (self.most - 1)


@dataclass(frozen=True)
class Positions:
    """What every layer of one call shares: where it stands, what it may see, how it turns."""

    offset: Tensor
    """`[B]`: tokens before this call."""
    bias: Tensor
    """`[B, 1, T, C]`: 0 if a query sees a slot, a large negative number elsewhere."""
    rotation: tuple[Tensor, Tensor] | None
    """Cosine and sine `[B, T, D / 2]`."""


class Rope(Weighted):
    """Rotations by position; `frequencies [D / 2]` as moshi modules/rope.py computes them."""

    def __init__(self, head_dim: int, max_period: float, dialect: OpsetDialect) -> None:
        super().__init__()
        self._max_period, self._dialect = max_period, dialect
        self.frequencies = empty(head_dim // 2)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine `[B, T, D / 2]` of integer `positions [B, T]`."""
        return self._dialect.cos_sin(positions.float()[..., None] * self.frequencies)

    def source(self, parameter: str, checkpoint: Below) -> Array:  # noqa: ARG002
        half = self.frequencies.shape[0]
        steps = torch.arange(half, dtype=torch.float32)
        value: Array = torch.exp(steps * (-math.log(self._max_period) / half)).numpy()
        return value


def visible(
    offset: Tensor, length: int, context: int, frames: Frames, dialect: OpsetDialect
) -> Tensor:
    """Which slots of the ring each token of a call sees: bool `[B, T, C]`."""
    capacity = frames.capacity(context)
    last = offset[:, None] + (length - 1)
    age = dialect.modulo(last - torch.arange(capacity), capacity)
    held = last - age  # the position in each slot; negative where it is empty
    query = offset[:, None] + torch.arange(length)
    frame_end = query - dialect.modulo(query, frames.tokens) + (frames.tokens - 1)
    held, query, frame_end = held[:, None], query[..., None], frame_end[..., None]
    return (held >= 0) & (held <= query) & (held > frame_end - context)


def interleaves(config: TransformerConfig) -> bool:
    """Whether rotations turn neighbouring numbers, and not those half a head apart."""
    return config.positional_embedding in ("rope", "sin_rope")


def scaled(q: Tensor, head_dim: int) -> Tensor:
    """Queries as `attend` wants them, scaled before they are parted by heads: right before the
    product ONNX Runtime would fuse the two, and leave its kernel for one row, which reads keys
    twice as fast."""
    return q * (1 / math.sqrt(head_dim))


def attend(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax attention of `scaled` queries `[B, H, T, D]` to `keys, values [B, KV, C, D]`, each
    head of which serves `H / KV` heads of queries; `bias [B, 1, T, C]` is added to the scores."""
    batch, heads, length, head_dim = q.shape
    kv_heads, capacity = keys.shape[1], keys.shape[2]
    rows = heads // kv_heads * length
    grouped = q if kv_heads == heads else q.reshape(batch, kv_heads, rows, head_dim)
    scores = grouped @ keys.transpose(2, 3)  # heads of a group lie in rows
    per_head = scores if kv_heads == heads else scores.reshape(batch, heads, length, capacity)
    if bias is not None:
        per_head = per_head + bias.to(q.dtype)
    weights = torch.softmax(per_head.float(), dim=-1).to(q.dtype)
    if kv_heads == heads:
        return weights @ values
    return (weights.reshape(scores.shape) @ values).reshape(batch, heads, length, head_dim)


class StreamingMultiheadAttention(Stateful):
    """Self-attention with grouped keys and values, its ring an explicit state."""

    def __init__(self, config: TransformerConfig, frames: Frames, style: Style) -> None:
        super().__init__()
        assert config.context is not None
        self.heads, self.kv_heads = config.num_heads, config.kv_heads
        self.head_dim = config.head_dim
        self.capacity = frames.capacity(config.context)
        self.single = frames.single
        self.rotated = config.positional_embedding in ("rope", "rope_concat", "sin_rope")
        self._interleaved = interleaves(config)
        self._style = style
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        halves = partial(as_halves, self.heads + self.kv_heads, self.head_dim)
        arrange = halves if self._interleaved else as_stored
        projection = style.linear(config.dim, width, arrange=arrange)
        self.in_projs = torch.nn.ModuleList([projection])
        self.out_projs = torch.nn.ModuleList([style.linear(config.dim, config.dim)])

    def states(self) -> list[StateSpec]:
        shape = (self.kv_heads, self.capacity, self.head_dim)
        dtype = self._style.compute
        position = f"{self.path.rsplit('.layers.', 1)[0]}.offset"
        return [
            StateSpec(f"{self.path}.{name}", shape, dtype, carry="in_place", position=position)
            for name in ("keys", "values")
        ]

    def forward(self, x: Tensor, at: Positions, step: Step) -> Tensor:
        y: Tensor = self.out_projs[0](self.attended(*self._projected(x, at), at, step))
        return y

    def attended(self, q: Tensor, k: Tensor, v: Tensor, at: Positions, step: Step) -> Tensor:
        """What the tokens `q, k, v [B, T, H * D]` of this call gather, themselves and the past."""
        q = scaled(q, self.head_dim)
        keys = step.append(f"{self.path}.keys", self._by_head(k, self.kv_heads), at.offset)
        values = step.append(f"{self.path}.values", self._by_head(v, self.kv_heads), at.offset)
        return self._together(attend(self._by_head(q, self.heads), keys, values, at.bias))

    def _projected(self, x: Tensor, at: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by their position, and values."""
        heads, kv_heads = self.heads, self.kv_heads
        projected = self.in_projs[0](x)
        turning = (heads + kv_heads) * self.head_dim
        qk, v = projected[..., :turning], projected[..., turning:]
        if at.rotation is not None:
            cos, sin = at.rotation
            qk = self._style.dialect.rotate(
                qk, cos.to(qk.dtype), sin.to(qk.dtype), heads + kv_heads
            )
        return qk[..., : heads * self.head_dim], qk[..., heads * self.head_dim :], v

    def _by_head(self, x: Tensor, heads: int) -> Tensor:
        """`[B, T, H * D]` to `[B, H, T, D]`."""
        if self.single:
            return x.reshape(-1, heads, 1, self.head_dim)
        return x.reshape(x.shape[0], -1, heads, self.head_dim).transpose(1, 2)

    def _together(self, y: Tensor) -> Tensor:
        """`[B, H, T, D]` to `[B, T, H * D]`."""
        width = self.heads * self.head_dim
        if self.single:
            return y.reshape(-1, 1, width)
        return y.transpose(1, 2).reshape(y.shape[0], -1, width)


def as_halves(heads: int, head_dim: int, weight: Formula) -> Formula:
    """Reorders the rows of so many heads, queries' and keys', so that interleaved pairs become the
    two halves of a head: every flavour then rotates alike, and their rings hold the same numbers.
    """
    return weight.then("halves", heads, head_dim)
