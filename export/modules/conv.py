"""Streaming convolutions (moshi modules/conv.py): the left context is an explicit state.

A layer that makes only a few samples a frame is bound by reading its weights; as a matrix product
over unfolded windows ONNX Runtime reads them nearly twice as fast as its convolution kernel does.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...conversion.filling.formula import Formula
from .linear import Style
from .step import Below, Stateful, StateSpec, Step, Weighted, empty


class Conv1d(Weighted):
    """Weights of one convolution, `[out, in / groups, kernel]`."""

    def __init__(
        self, shape: tuple[int, int, int], stride: int, dilation: int, bias: bool, groups: int
    ) -> None:
        super().__init__()
        self.weight = empty(*shape)
        self.bias = empty(shape[0]) if bias else None
        self.stride, self.dilation, self.groups = stride, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        return checkpoint.read(parameter)


class NormConv1d(torch.nn.Module):
    """The level of the tree at which Kyutai keep weight normalisation; theirs is folded."""

    def __init__(
        self, shape: tuple[int, int, int], stride: int, dilation: int, bias: bool, groups: int
    ) -> None:
        super().__init__()
        self.conv = Conv1d(shape, stride, dilation, bias, groups)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class WindowProduct(torch.nn.Module):
    """The same convolution as one matrix product, `[kernel * in]` to `[out]`."""

    def __init__(
        self, shape: tuple[int, int, int], stride: int, dilation: int, bias: bool, style: Style
    ) -> None:
        super().__init__()
        out, channels, kernel = shape
        self._channels, self._kernel = channels, kernel
        self.stride, self.dilation = stride, dilation

        def by_tap(weight: Formula) -> Formula:
            """`[out, in, kernel]` to `[out, kernel * in]`."""
            return weight.transposed(0, 2, 1).reshaped(out, kernel * channels)

        self.conv = style.linear(kernel * channels, out, bias=bias, arrange=by_tap)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self._windows(x.transpose(1, 2)))
        return y.transpose(1, 2)

    def _windows(self, x: Tensor) -> Tensor:
        """`[B, T, C]` to `[B, windows, kernel * C]`."""
        channels, kernel = self._channels, self._kernel
        if kernel == 1 and self.stride == 1:
            return x
        if kernel == 2 * self.stride and self.dilation == 1:
            strides = x.reshape(x.shape[0], -1, self.stride * channels)
            return torch.cat([strides[:, :-1], strides[:, 1:]], dim=-1)
        reach = (kernel - 1) * self.dilation
        length = x.shape[1]
        taps = [
            x[:, k * self.dilation : length - reach + k * self.dilation : self.stride]
            for k in range(kernel)
        ]
        return torch.cat(taps, dim=-1)


class StreamingConv1d(Stateful):
    """A causal convolution whose last `kernel - stride` inputs are its state.

    With a `product` it is written as a matrix product in that style. `replicate` fills the state of
    a stream's first call with that call's first input, as only Mimi's downsampling does; `first`
    says which rows are at their first call.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        product: Style | None,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        replicate: bool = False,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels // groups, kernel)
        self.conv: torch.nn.Module
        if product is not None and groups == 1:
            self.conv = WindowProduct(shape, stride, dilation, bias, product)
        else:
            self.conv = NormConv1d(shape, stride, dilation, bias, groups)
        self._channels, self._replicate = in_channels, replicate
        self._context = (kernel - 1) * dilation + 1 - stride

    def states(self) -> list[StateSpec]:
        if not self._context:
            return []
        return [StateSpec(f"{self.path}.previous", (self._channels, self._context))]

    def forward(self, x: Tensor, step: Step, first: Tensor | None = None) -> Tensor:
        if self._context:
            previous = step.read(f"{self.path}.previous")
            if self._replicate and first is not None:
                previous = torch.where(first[:, None, None], x[..., :1], previous)
            x = torch.cat([previous, x], dim=-1)
            step.replace(f"{self.path}.previous", x[..., -self._context :])
        y: Tensor = self.conv(x)
        return y
