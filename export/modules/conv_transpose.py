"""Streaming transposed convolutions (moshi modules/conv.py): the overlap is an explicit state.

Each input makes `kernel` outputs, of which the last `kernel - stride` also wait for the next input.
The state holds that sum without the bias, which is added once, when a sample is complete.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...conversion.filling.formula import Formula
from .linear import Style
from .step import Below, Stateful, StateSpec, Step, Weighted, empty

KernelShape = tuple[int, int, int]
"""`(in, out / groups, kernel)`, as torch keeps the weight."""


class Transposed(Weighted):
    """Weights of one transposed convolution."""

    def __init__(self, shape: KernelShape, stride: int, bias: bool, groups: int) -> None:
        super().__init__()
        self.shape, self.stride, self.groups = shape, stride, groups
        self.weight = empty(*shape)
        self.bias = empty(shape[1] * groups) if bias else None

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        return checkpoint.read(parameter)


class NormConvTranspose1d(torch.nn.Module):
    """The level of the tree at which Kyutai keep weight normalisation; theirs is folded. Of the
    overlap each call takes what waited and returns what waits."""

    def __init__(self, shape: KernelShape, stride: int, bias: bool, groups: int) -> None:
        super().__init__()
        self.convtr = Transposed(shape, stride, bias, groups)

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """`x [B, in, T]`, `partial [B, out, kernel - stride]` to `[B, out, T * stride]`."""
        y, rest = self.transposed(x, partial)
        if self.convtr.bias is not None:
            y = y + self.convtr.bias[:, None]
        return y, rest

    def transposed(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """The same without the bias."""
        shape, stride = self.convtr.shape, self.convtr.stride
        overlap = shape[2] - stride
        y = F.conv_transpose1d(x, self.convtr.weight, None, stride, groups=self.convtr.groups)
        y = torch.cat([y[..., :overlap] + partial, y[..., overlap:]], dim=-1)
        return y[..., :-overlap], y[..., -overlap:]


class DepthwiseProduct(NormConvTranspose1d):
    """One channel in, one out, kernel twice the stride: a product and a shifted sum."""

    def transposed(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        batch, channels = x.shape[:2]
        stride = self.convtr.stride
        y = x[..., None] * self.convtr.weight  # [B, C, T, kernel]
        later = torch.cat([partial[:, :, None], y[..., stride:]], dim=2)
        done = (y[..., :stride] + later[:, :, :-1]).reshape(batch, channels, -1)
        return done, later[:, :, -1]


class StrideProduct(torch.nn.Module):
    """As a matrix product `[in]` to `[kernel * out]`, kernel twice the stride: an input gives two
    strides of output, of which the second is added to the next input's first. The first one alone
    has the bias."""

    def __init__(self, shape: KernelShape, stride: int, bias: bool, style: Style) -> None:
        super().__init__()
        channels, out, kernel = shape
        self._out, self._stride = out, stride

        def by_tap(weight: Formula) -> Formula:
            """`[in, out, kernel]` to `[kernel * out, in]`."""
            return weight.transposed(2, 1, 0).reshaped(kernel * out, channels)

        def first_half(values: Formula) -> Formula:
            return values.then("tile", stride).padded((kernel - stride) * out)

        self.convtr = style.linear(
            channels, kernel * out, bias=bias, arrange=by_tap, arrange_bias=first_half
        )

    def forward(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        batch, out = x.shape[0], self._out
        width = self._stride * out
        y = self.convtr(x.transpose(1, 2))
        waiting = partial.transpose(1, 2).reshape(batch, 1, width)
        later = torch.cat([waiting, y[..., width:]], dim=1)
        done = (y[..., :width] + later[:, :-1]).reshape(batch, -1, out)
        rest = later[:, -1:].reshape(batch, self._stride, out)
        return done.transpose(1, 2), rest.transpose(1, 2)


class StreamingConvTranspose1d(Stateful):
    """A causal transposed convolution, with a `product` as a matrix product in that style."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        *,
        product: Style | None,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (in_channels, out_channels // groups, kernel)
        halves = product is not None and kernel == 2 * stride
        self.convtr: torch.nn.Module
        if product is not None and halves and groups == 1:
            self.convtr = StrideProduct(shape, stride, bias, product)
        elif halves and groups == in_channels == out_channels:
            self.convtr = DepthwiseProduct(shape, stride, bias, groups)
        else:
            self.convtr = NormConvTranspose1d(shape, stride, bias, groups)
        self._state = (out_channels, kernel - stride)

    def states(self) -> list[StateSpec]:
        return [StateSpec(f"{self.path}.partial", self._state)]

    def forward(self, x: Tensor, step: Step) -> Tensor:
        y: Tensor
        y, partial = self.convtr(x, step.read(f"{self.path}.partial"))
        step.replace(f"{self.path}.partial", partial)
        return y
