"""Mimi's convolution stacks (moshi modules/seanet.py), with Kyutai's numbering of the layers.

Layers that make or read `few` samples a frame at most are written as matrix products.
"""

import math

from torch import Tensor, nn

from ..config import SEANetConfig
from .conv import StreamingConv1d
from .conv_transpose import StreamingConvTranspose1d
from .step import Step


def activation(config: SEANetConfig) -> nn.Module:
    made: nn.Module = getattr(nn, config.activation)(**dict(config.activation_params))
    return made


class SEANetResnetBlock(nn.Module):
    """`x` plus a narrow convolution of it, kernel by kernel."""

    def __init__(self, dim: int, dilation: int, config: SEANetConfig, as_product: bool) -> None:
        super().__init__()
        hidden, kernel = dim // config.compress, config.residual_kernel_size
        self.block = nn.Sequential(
            activation(config),
            StreamingConv1d(dim, hidden, kernel, dilation=dilation, as_product=as_product),
            activation(config),
            StreamingConv1d(hidden, dim, 1, as_product=as_product),
        )
        self.shortcut: nn.Module = nn.Identity()
        if not config.true_skip:
            self.shortcut = StreamingConv1d(dim, dim, 1, as_product=as_product)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(x, step)
        y: Tensor = shortcut + run(self.block, x, step)
        return y


STREAMING = (StreamingConv1d, StreamingConvTranspose1d, SEANetResnetBlock)


def run(model: nn.Sequential, x: Tensor, step: Step) -> Tensor:
    for layer in model:
        x = layer(x, step) if isinstance(layer, STREAMING) else layer(x)
    return x


def residual_blocks(config: SEANetConfig, width: int, as_product: bool) -> list[nn.Module]:
    return [
        SEANetResnetBlock(width, config.dilation_base**j, config, as_product)
        for j in range(config.n_residual_layers)
    ]


class SEANetEncoder(nn.Module):
    """`[B, channels, frame size]` to `[B, dimension, latents]`, a latent every `hop_length`."""

    def __init__(self, config: SEANetConfig, frame_size: int, few: int) -> None:
        super().__init__()
        width, rate = config.n_filters, frame_size
        layers: list[nn.Module] = [
            StreamingConv1d(config.channels, width, config.kernel_size, as_product=rate <= few)
        ]
        for ratio in reversed(config.ratios):
            layers += residual_blocks(config, width, rate <= few)
            rate //= ratio
            down = StreamingConv1d(
                width, 2 * width, 2 * ratio, stride=ratio, as_product=rate <= few
            )
            layers += [activation(config), down]
            width *= 2
        kernel = config.last_kernel_size
        last = StreamingConv1d(width, config.dimension, kernel, as_product=rate <= few)
        self.model = nn.Sequential(*layers, activation(config), last)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return run(self.model, x, step)


class SEANetDecoder(nn.Module):
    """`[B, dimension, latents]` to `[B, channels, frame size]`."""

    def __init__(self, config: SEANetConfig, frame_size: int, few: int) -> None:
        super().__init__()
        width = config.n_filters * 2 ** len(config.ratios)
        rate = frame_size // math.prod(config.ratios)
        layers: list[nn.Module] = [
            StreamingConv1d(config.dimension, width, config.kernel_size, as_product=rate <= few)
        ]
        for ratio in config.ratios:
            up = StreamingConvTranspose1d(
                width, width // 2, 2 * ratio, ratio, as_product=rate <= few
            )
            layers += [activation(config), up]
            width, rate = width // 2, rate * ratio
            layers += residual_blocks(config, width, rate <= few)
        kernel = config.last_kernel_size
        last = StreamingConv1d(width, config.channels, kernel, as_product=rate <= few)
        layers += [activation(config), last]
        if config.final_activation is not None:
            params = dict(config.final_activation_params)
            layers.append(getattr(nn, config.final_activation)(**params))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return run(self.model, x, step)
