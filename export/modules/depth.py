"""The layers of the depth transformer, whose weights differ from codebook to codebook (moshi
modules/transformer.py with `weights_per_step`).

The whole of a frame is one graph: codebooks are unrolled, and keys and values live inside it.
"""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import DepformerConfig, TransformerConfig
from ...conversion.filling.formula import Formula
from .attention import Rope, as_halves, attend, interleaves, scaled
from .gating import ActivationGating
from .linear import Style, as_stored
from .norm import make_norm
from .transformer import SinEmbedding, residual_scale

Rotation = tuple[Tensor, Tensor] | None


class DepthAttention(nn.Module):
    """Self-attention among the codebooks of a frame, with the weight set of each."""

    def __init__(self, config: TransformerConfig, sets: int, style: Style) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_heads,
            config.kv_heads,
            config.head_dim,
        )
        self._dialect = style.dialect
        turning = self.heads + self.kv_heads
        width = (turning + self.kv_heads) * self.head_dim

        def halves(weight: Formula) -> Formula:
            return as_halves(turning, self.head_dim, weight)

        arrange = halves if interleaves(config) else as_stored
        self.in_projs = nn.ModuleList(
            style.linear(config.dim, width, arrange=arrange) for _ in range(sets)
        )
        self.out_projs = nn.ModuleList(style.linear(config.dim, config.dim) for _ in range(sets))

    def forward(
        self, x: Tensor, weights: int, rotation: Rotation, past: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """`x [B, 1, dim]`; `past` are the keys and values of the codebooks before, to which this
        one's are added."""
        projected = self.in_projs[weights](x)
        split = self.heads * self.head_dim
        turning = split + self.kv_heads * self.head_dim
        qk, v = projected[..., :turning], projected[..., turning:]
        if rotation is not None:
            cos, sin = (part.to(qk.dtype) for part in rotation)
            qk = self._dialect.rotate(qk, cos, sin, self.heads + self.kv_heads)
        past.append((self._by_head(qk[..., split:]), self._by_head(v)))
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*past, strict=True))
        q = scaled(qk[..., :split], self.head_dim).reshape(-1, self.heads, 1, self.head_dim)
        attended = attend(q, keys, values, None).reshape(-1, 1, split)
        y: Tensor = self.out_projs[weights](attended)
        return y

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.kv_heads, 1, self.head_dim)


class DepthLayer(nn.Module):
    def __init__(self, config: DepformerConfig, style: Style) -> None:
        super().__init__()
        transformer, sets = config.transformer, config.weight_sets
        self.self_attn = DepthAttention(transformer, sets, style)
        self.norm1 = make_norm(transformer.norm, config.dim, style.dialect)
        self.norm2 = make_norm(transformer.norm, config.dim, style.dialect)
        self._per_step = config.weights_per_step
        self.gating: nn.Module | None = None
        widths = transformer.feedforwards
        if transformer.gating == "none":
            self.linear1 = style.linear(config.dim, widths[0])
            self.linear2 = style.linear(widths[0], config.dim)
        else:
            gates = [
                ActivationGating(config.dim, widths[index % len(widths)], transformer.gating, style)
                for index in range(sets)
            ]
            self.gating = nn.ModuleList(gates) if self._per_step else gates[0]
        self.layer_scale_1 = residual_scale(transformer)
        self.layer_scale_2 = residual_scale(transformer)

    def forward(
        self, x: Tensor, weights: int, rotation: Rotation, past: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        x = x + self.layer_scale_1(self.self_attn(self.norm1(x), weights, rotation, past))
        y: Tensor = x + self.layer_scale_2(self._feed_forward(self.norm2(x), weights))
        return y

    def _feed_forward(self, x: Tensor, weights: int) -> Tensor:
        y: Tensor
        if self.gating is None:
            y = self.linear2(nn.functional.gelu(self.linear1(x)))
        elif isinstance(self.gating, nn.ModuleList):
            y = self.gating[weights](x)
        else:
            y = self.gating(x)
        return y


class DepthLayers(nn.Module):
    """All layers, one codebook after the other."""

    def __init__(self, config: DepformerConfig, style: Style) -> None:
        super().__init__()
        transformer = config.transformer
        self._config = config
        self.layers = nn.ModuleList(
            DepthLayer(config, style) for _ in range(transformer.num_layers)
        )
        kind, period = transformer.positional_embedding, transformer.max_period
        head_dim, dialect = transformer.head_dim, style.dialect
        self.rope = Rope(head_dim, period, dialect) if "rope" in kind else None
        self.sin = SinEmbedding(config.dim, period, dialect) if "sin" in kind else None

    def begin(self) -> list[list[tuple[Tensor, Tensor]]]:
        """The keys and values of a frame that is yet to begin, layer by layer."""
        return [[] for _ in self.layers]

    def forward(self, x: Tensor, codebook: int, past: list[list[tuple[Tensor, Tensor]]]) -> Tensor:
        """`x [B, 1, dim]`, the input of one codebook."""
        positions = torch.full((1, 1), codebook)
        if self.sin is not None:
            x = x + self.sin(positions).to(x.dtype)
        rotation: Rotation = None
        if self.rope is not None:
            cos, sin = self.rope(positions)
            rotation = cos.expand(x.shape[0], -1, -1), sin.expand(x.shape[0], -1, -1)
        for layer, entries in zip(self.layers, past, strict=True):
            x = layer(x, self._config.weight_set(codebook), rotation, entries)
        return x
