"""The streaming transformer, its layers and residual scales (moshi modules/transformer.py)."""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import TransformerConfig
from ...conversion.filling.formula import Formula
from ...runtime.typing import Array
from .attention import Frames, Positions, Rope, StreamingMultiheadAttention, visible
from .cross_attention import CrossAttention
from .gating import ActivationGating
from .linear import Style
from .norm import make_norm
from .opset_dialect import OpsetDialect
from .quantized_kv_cache import RoundedCacheAttention, filled
from .step import Below, Stateful, StateSpec, Step, Weighted, empty

HIDDEN = -1e30
"""Added to the score of a slot that a query does not see; exp of it is exactly 0."""


class LayerScale(Weighted):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = empty(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale.to(x.dtype) * x

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        return checkpoint.read(parameter)


def sin_periods(half: int, max_period: float) -> Tensor:
    """What positions are divided by, `[half]` (moshi `create_sin_embedding`)."""
    steps = torch.arange(half, dtype=torch.float32)
    periods: Tensor = torch.full([], max_period) ** (steps / (half - 1))
    return periods


class SinEmbedding(Weighted):
    """Sinusoidal positions, cosines first (moshi `create_sin_embedding`)."""

    def __init__(self, dim: int, max_period: float, dialect: OpsetDialect) -> None:
        super().__init__()
        self._max_period, self._dialect = max_period, dialect
        self.periods = empty(dim // 2)

    def forward(self, positions: Tensor) -> Tensor:
        """`[B, T, dim]` of integer `positions [B, T]`."""
        return torch.cat(self._dialect.cos_sin(positions.float()[..., None] / self.periods), dim=-1)

    def source(self, parameter: str, checkpoint: Below) -> Array:  # noqa: ARG002
        periods: Array = sin_periods(self.periods.shape[0], self._max_period).numpy()
        return periods


def residual_scale(config: TransformerConfig) -> nn.Module:
    return nn.Identity() if config.layer_scale is None else LayerScale(config.dim)


class StreamingTransformerLayer(nn.Module):
    def __init__(
        self, config: TransformerConfig, frames: Frames, style: Style, source: int = 0
    ) -> None:
        super().__init__()
        assert isinstance(config.dim_feedforward, int)
        attention = RoundedCacheAttention if style.rounds_cache else StreamingMultiheadAttention
        self.self_attn = attention(config, frames, style)
        self.norm1 = make_norm(config.norm, config.dim, style.dialect)
        self.norm2 = make_norm(config.norm, config.dim, style.dialect)
        self.gating: nn.Module | None = None
        if config.gating == "none":
            self.linear1 = style.linear(config.dim, config.dim_feedforward)
            self.linear2 = style.linear(config.dim_feedforward, config.dim)
        else:
            self.gating = ActivationGating(config.dim, config.dim_feedforward, config.gating, style)
        self.layer_scale_1, self.layer_scale_2 = residual_scale(config), residual_scale(config)
        self.cross_attention: nn.Module | None = None
        if config.cross_attention:
            self.cross_attention = CrossAttention(config, source, style)
            self.norm_cross = make_norm("layer_norm", config.dim, style.dialect)
            self.layer_scale_cross = residual_scale(config)

    def forward(self, x: Tensor, at: Positions, step: Step) -> Tensor:
        x = x + self.layer_scale_1(self.self_attn(self.norm1(x), at, step))
        if self.cross_attention is not None:
            x = x + self.layer_scale_cross(self.cross_attention(self.norm_cross(x), step))
        y: Tensor = x + self.layer_scale_2(self._feed_forward(self.norm2(x)))
        return y

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.gating is not None:
            y = self.gating(x)
        else:
            y = self.linear2(nn.functional.gelu(self.linear1(x)))
        return y


class StreamingTransformer(Stateful):
    """All layers over the tokens of one call, `[B, T, dim]`; its state is the position.

    With cross-attention they attend to a condition of `source` positions.
    """

    def __init__(
        self, config: TransformerConfig, frames: Frames, style: Style, source: int = 0
    ) -> None:
        super().__init__()
        assert config.context is not None
        self._context, self._frames, self._style = config.context, frames, style
        self.layers = nn.ModuleList(
            StreamingTransformerLayer(config, frames, style, source)
            for _ in range(config.num_layers)
        )
        kind = config.positional_embedding
        period, dialect = config.max_period, style.dialect
        self.rope = Rope(config.head_dim, period, dialect) if "rope" in kind else None
        self.sin = SinEmbedding(config.dim, period, dialect) if "sin" in kind else None

    def states(self) -> list[StateSpec]:
        return [StateSpec(f"{self.path}.offset", (), torch.int64)]

    def forward(self, x: Tensor, step: Step) -> Tensor:
        name, length = f"{self.path}.offset", x.shape[1]
        offset = step.read(name)
        step.replace(name, offset + length)
        positions = offset[:, None] + torch.arange(length)
        if self._style.rounds_cache:
            seen = filled(offset, self._context)
        else:
            seen = visible(offset, length, self._context, self._frames, self._style.dialect)
        bias = torch.where(seen, 0.0, HIDDEN)[:, None]
        rotation = self.rope(positions) if self.rope is not None else None
        if self.sin is not None:
            x = x + self.sin(positions).to(x.dtype)
        at = Positions(offset, bias, rotation)
        for layer in self.layers:
            x = layer(x, at, step)
        return x


class ProjectedTransformer(nn.Module):
    """A transformer between projections, on `[B, C, T]` as the convolutions around it."""

    def __init__(
        self,
        config: TransformerConfig,
        input_dimension: int,
        output_dimension: int,
        frames: Frames,
        style: Style,
    ) -> None:
        super().__init__()
        self.transformer = StreamingTransformer(config, frames, style)
        self.input_proj: nn.Module = nn.Identity()
        if input_dimension != config.dim:
            self.input_proj = style.linear(input_dimension, config.dim)
        output: nn.Module = nn.Identity()
        if output_dimension != config.dim:
            output = style.linear(config.dim, output_dimension)
        self.output_projs = nn.ModuleList([output])

    def forward(self, x: Tensor, step: Step) -> Tensor:
        y: Tensor = self.output_projs[0](self.transformer(self.input_proj(x.transpose(1, 2)), step))
        return y.transpose(1, 2)
