"""Start a convolutional stack with unit variance at every layer, measured on real sound.

With the default initialisation the encoder barely moves for hundreds of steps.
"""

from collections.abc import Callable

import torch
from moshi.modules import SEANetDecoder, SEANetEncoder
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn

RESIDUAL = 0.5
LAYER_SCALE = 0.2


def inner(layer: nn.Module) -> nn.Module:
    """The torch convolution inside one of Moshi's streaming ones."""
    return layer.conv.conv if isinstance(layer, StreamingConv1d) else layer.convtr.convtr


@torch.no_grad()
def equalise(
    stack: SEANetEncoder | SEANetDecoder, run: Callable[[], Tensor], last: float = 1.0
) -> None:
    """Scale each convolution of `stack` until its output deviates by 1 (`last` for the last one,
    0.5 at the end of residual blocks) while `run` is called."""
    kinds = (StreamingConv1d, StreamingConvTranspose1d)
    layers = [m for m in stack.modules() if isinstance(m, kinds)]
    ends = {b.block[-1] for b in stack.modules() if isinstance(b, SEANetResnetBlock)}
    for layer in layers:
        target = last if layer is layers[-1] else RESIDUAL if layer in ends else 1.0
        inner(layer).bias.zero_()
        inner(layer).weight.mul_(target / deviation(inner(layer), run))


@torch.no_grad()
def deviation(layer: nn.Module, run: Callable[[], Tensor]) -> float:
    """Standard deviation of what `layer` gives while `run` is called, silence left out."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    run()
    hook.remove()
    heard = outputs[-1]
    return float(heard[heard.abs() > 1e-8].std())


def raise_layer_scales(module: nn.Module) -> None:
    """Moshi starts its residual branches at 0.01, too timid for a short training."""
    for name, parameter in module.named_parameters():
        if "layer_scale" in name:
            parameter.data.fill_(LAYER_SCALE)
