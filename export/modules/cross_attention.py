"""Cross-attention to a condition that a stream keeps (moshi modules/transformer.py).

Keys and values are made once a stream, by the graph of conditions; the temporal transformer finds
them among its constants.
"""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import TransformerConfig
from .attention import attend, scaled
from .linear import Style
from .step import Stateful, StateSpec, Step


def state_names(layer: int) -> tuple[str, str]:
    """The constants of a layer: its keys and its values `[batch, heads, length, head_dim]`."""
    path = f"transformer.layers.{layer}.cross_attention"
    return f"{path}.keys", f"{path}.values"


class CrossAttention(Stateful):
    """What the temporal transformer does of it: queries, and the attention itself; every position
    is seen, masked ones included."""

    def __init__(self, config: TransformerConfig, length: int, style: Style) -> None:
        super().__init__()
        dim = config.dim
        self._shape = (config.num_heads, length, config.head_dim)
        self._style = style
        self.in_projs = nn.ModuleList([style.linear(dim, dim, arrange=lambda w: w.rows(0, dim))])
        self.out_projs = nn.ModuleList([style.linear(dim, dim)])

    def states(self) -> list[StateSpec]:
        names = (f"{self.path}.keys", f"{self.path}.values")
        dtype = self._style.compute
        return [StateSpec(name, self._shape, dtype, carry="constant") for name in names]

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """`[B, 1, dim]` to the same."""
        heads, _, head_dim = self._shape
        keys, values = (step.read(f"{self.path}.{name}") for name in ("keys", "values"))
        q = scaled(self.in_projs[0](x), head_dim).reshape(-1, heads, 1, head_dim)
        attended = attend(q, keys, values, None).reshape(-1, 1, heads * head_dim)
        y: Tensor = self.out_projs[0](attended)
        return y


class CrossSource(nn.Module):
    """What the graph of conditions does of it: keys and values of the source `[B, length, dim]`."""

    def __init__(self, config: TransformerConfig, style: Style) -> None:
        super().__init__()
        dim = config.dim
        self._heads, self._head_dim = config.num_heads, config.head_dim
        self.in_projs = nn.ModuleList(
            [style.linear(dim, 2 * dim, arrange=lambda w: w.rows(dim, 3 * dim))]
        )

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = torch.chunk(self.in_projs[0](source), 2, dim=-1)
        return self._by_head(keys), self._by_head(values)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self._heads, self._head_dim).transpose(1, 2)
