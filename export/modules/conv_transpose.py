"""Streaming transposed convolutions (moshi modules/conv.py): the overlap is an explicit state.

Each input makes `kernel` outputs, of which the last `kernel - stride` also wait for the next input.
The state holds that sum without the bias, which is added once, when a sample is complete.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .step import Below, Stateful, StateSpec, Step, Weighted, empty, to_numpy

Shape = tuple[int, int, int]
"""`(in, out / groups, kernel)`, as torch keeps the weight."""


class Transposed(Weighted):
    """Weights of one transposed convolution; `forward` takes the overlap and returns the next."""

    def __init__(self, shape: Shape, stride: int, bias: bool, groups: int) -> None:
        super().__init__()
        self.shape, self.stride, self.groups = shape, stride, groups
        self.weight = self.make_weight()
        self.bias = empty(shape[1] * groups) if bias else None

    def make_weight(self) -> torch.nn.Parameter:
        return empty(*self.shape)

    def arrange(self, weight: Tensor) -> Tensor:
        """The checkpoint's weight in the layout of this form."""
        return weight

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """`x [B, in, T]`, `partial [B, out, kernel - stride]` to `[B, out, T * stride]`."""
        overlap = self.shape[2] - self.stride
        y = F.conv_transpose1d(x, self.weight, None, self.stride, groups=self.groups)
        y = torch.cat([y[..., :overlap] + partial, y[..., overlap:]], dim=-1)
        return y[..., :-overlap], y[..., -overlap:]

    def materialize(self, parameter: str, tensors: Below) -> np.ndarray:
        value = tensors.read(parameter)
        return to_numpy(self.arrange(value) if parameter == "weight" else value, torch.float32)


class StrideProduct(Transposed):
    """As a matrix product `[in, kernel * out]`, kernel twice the stride: an input gives two strides
    of output, of which the second is added to the next input's first."""

    def make_weight(self) -> torch.nn.Parameter:
        channels, out, kernel = self.shape
        return empty(channels, kernel * out)

    def arrange(self, weight: Tensor) -> Tensor:
        return weight.permute(0, 2, 1).reshape(self.shape[0], -1)

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        batch, out = x.shape[0], self.shape[1]
        width = self.stride * out
        y = x.transpose(1, 2) @ self.weight
        waiting = partial.transpose(1, 2).reshape(batch, 1, width)
        later = torch.cat([waiting, y[..., width:]], dim=1)
        done = (y[..., :width] + later[:, :-1]).reshape(batch, -1, out)
        rest = later[:, -1:].reshape(batch, self.stride, out)
        return done.transpose(1, 2), rest.transpose(1, 2)


class DepthwiseProduct(Transposed):
    """One channel in, one out, kernel twice the stride: a product and a shifted sum."""

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        batch, channels = x.shape[:2]
        y = x[..., None] * self.weight  # [B, C, T, kernel]
        later = torch.cat([partial[:, :, None], y[..., self.stride :]], dim=2)
        done = (y[..., : self.stride] + later[:, :, :-1]).reshape(batch, channels, -1)
        return done, later[:, :, -1]


class NormConvTranspose1d(torch.nn.Module):
    """The level of the tree at which Kyutai keep weight normalisation; theirs is folded."""

    def __init__(self, convtr: Transposed) -> None:
        super().__init__()
        self.convtr = convtr

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        y, rest = self.convtr(x, partial)
        if self.convtr.bias is not None:
            y = y + self.convtr.bias[:, None]
        return y, rest


class StreamingConvTranspose1d(Stateful):
    """A causal transposed convolution; `as_product` writes it as a matrix product."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        *,
        as_product: bool,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        form = Transposed
        if as_product and kernel == 2 * stride:
            if groups == in_channels == out_channels:
                form = DepthwiseProduct
            elif groups == 1:
                form = StrideProduct
        shape = (in_channels, out_channels // groups, kernel)
        self.convtr = NormConvTranspose1d(form(shape, stride, bias, groups))
        self._state = (out_channels, kernel - stride)

    def states(self) -> list[StateSpec]:
        return [StateSpec(f"{self.path}.partial", self._state)]

    def forward(self, x: Tensor, step: Step) -> Tensor:
        y: Tensor
        y, partial = self.convtr(x, step.read(f"{self.path}.partial"))
        step.replace(f"{self.path}.partial", partial)
        return y
