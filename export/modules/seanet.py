"""Mimi's convolution stacks (moshi modules/seanet.py), with Kyutai's numbering of the layers.

Layers that make or read a few samples a frame at most are written as matrix products.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from ...conversion.checkpoint.config import SEANetConfig
from .conv import StreamingConv1d
from .conv_transpose import StreamingConvTranspose1d
from .linear import Style
from .step import Step

FEW = 16
"""Samples a frame up to which a layer is written as a matrix product."""

Products = Callable[[int], Style | None]
"""How a layer of so many samples a frame is written as a matrix product, if it is."""


def few_as_products(style: Style) -> Products:
    return lambda samples: style if samples <= FEW else None


def no_products(samples: int) -> Style | None:  # noqa: ARG001
    return None


def activation(config: SEANetConfig) -> nn.Module:
    made: nn.Module = getattr(nn, config.activation)(**dict(config.activation_params))
    return made


class SEANetResnetBlock(nn.Module):
    """`x` plus a narrow convolution of it, kernel by kernel."""

    def __init__(
        self, dim: int, dilation: int, config: SEANetConfig, product: Style | None
    ) -> None:
        super().__init__()
        hidden, kernel = dim // config.compress, config.residual_kernel_size
        self.block = nn.Sequential(
            activation(config),
            StreamingConv1d(dim, hidden, kernel, dilation=dilation, product=product),
            activation(config),
            StreamingConv1d(hidden, dim, 1, product=product),
        )
        self.shortcut: nn.Module = nn.Identity()
        if not config.true_skip:
            self.shortcut = StreamingConv1d(dim, dim, 1, product=product)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(x, step)
        y: Tensor = shortcut + run(self.block, x, step)
        return y


STREAMING = (StreamingConv1d, StreamingConvTranspose1d, SEANetResnetBlock)


def run(model: nn.Sequential, x: Tensor, step: Step) -> Tensor:
    for layer in model:
        x = layer(x, step) if isinstance(layer, STREAMING) else layer(x)
    return x


def residual_blocks(config: SEANetConfig, width: int, product: Style | None) -> list[nn.Module]:
    return [
        SEANetResnetBlock(width, config.dilation_base**j, config, product)
        for j in range(config.n_residual_layers)
    ]


class SEANetEncoder(nn.Module):
    """`[B, channels, frame size]` to `[B, dimension, latents]`, a latent every `hop_length`."""

    def __init__(self, config: SEANetConfig, frame_size: int, products: Products) -> None:
        super().__init__()
        width, rate = config.n_filters, frame_size
        layers: list[nn.Module] = [
            StreamingConv1d(config.channels, width, config.kernel_size, product=products(rate))
        ]
        for ratio in reversed(config.ratios):
            layers += residual_blocks(config, width, products(rate))
            rate //= ratio
            down = StreamingConv1d(
                width, 2 * width, 2 * ratio, stride=ratio, product=products(rate)
            )
            layers += [activation(config), down]
            width *= 2
        kernel = config.last_kernel_size
        last = StreamingConv1d(width, config.dimension, kernel, product=products(rate))
        self.model = nn.Sequential(*layers, activation(config), last)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return run(self.model, x, step)


class SEANetDecoder(nn.Module):
    """`[B, dimension, latents]` to `[B, channels, frame size]`."""

    def __init__(self, config: SEANetConfig, frame_size: int, products: Products) -> None:
        super().__init__()
        width = config.n_filters * 2 ** len(config.ratios)
        rate = frame_size // math.prod(config.ratios)
        layers: list[nn.Module] = [
            StreamingConv1d(config.dimension, width, config.kernel_size, product=products(rate))
        ]
        for ratio in config.ratios:
            up = StreamingConvTranspose1d(
                width, width // 2, 2 * ratio, ratio, product=products(rate)
            )
            layers += [activation(config), up]
            width, rate = width // 2, rate * ratio
            layers += residual_blocks(config, width, products(rate))
        kernel = config.last_kernel_size
        last = StreamingConv1d(width, config.channels, kernel, product=products(rate))
        layers += [activation(config), last]
        if config.final_activation is not None:
            params = dict(config.final_activation_params)
            layers.append(getattr(nn, config.final_activation)(**params))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return run(self.model, x, step)
