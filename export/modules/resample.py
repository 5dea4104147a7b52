"""Between the encoder's rate and the codec's frame rate (moshi modules/resample.py)."""

from torch import Tensor, nn

from .conv import StreamingConv1d
from .conv_transpose import StreamingConvTranspose1d
from .linear import Style
from .step import Step


class ConvDownsample1d(nn.Module):
    """`[B, C, T]` to `[B, C, T / stride]`; before a stream its first input counts as repeated."""

    def __init__(self, stride: int, dimension: int, style: Style) -> None:
        super().__init__()
        self.conv = StreamingConv1d(
            dimension,
            dimension,
            2 * stride,
            stride=stride,
            bias=False,
            replicate=True,
            product=style,
        )

    def forward(self, x: Tensor, step: Step, first: Tensor) -> Tensor:
        """`first [B]` marks the rows that are at the first call of their stream."""
        y: Tensor = self.conv(x, step, first)
        return y


class ConvTrUpsample1d(nn.Module):
    """`[B, C, T]` to `[B, C, T * stride]`, channel by channel."""

    def __init__(self, stride: int, dimension: int, style: Style) -> None:
        super().__init__()
        self.convtr = StreamingConvTranspose1d(
            dimension,
            dimension,
            2 * stride,
            stride,
            groups=dimension,
            bias=False,
            product=style,
        )

    def forward(self, x: Tensor, step: Step) -> Tensor:
        y: Tensor = self.convtr(x, step)
        return y
