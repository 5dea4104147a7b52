"""Feed-forward blocks: gated (moshi modules/gating.py) or plain (modules/transformer.py)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conversion.checkpoint.config import gating_hidden
from .linear import Style

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softsign": F.softsign,
    "identity": lambda x: x,
}


class ActivationGating(nn.Module):
    """`linear_out(activation(first half) * second half)` of `linear_in`."""

    def __init__(self, dim: int, dim_feedforward: int, activation: str, style: Style) -> None:
        super().__init__()
        self.hidden = gating_hidden(dim, dim_feedforward)
        self.activation = ACTIVATIONS[activation]
        self.linear_in = style.linear(dim, 2 * self.hidden)
        self.linear_out = style.linear(self.hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.linear_in(x).split(self.hidden, dim=-1)
        y: Tensor = self.linear_out(self.activation(gate) * value)
        return y
