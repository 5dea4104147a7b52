"""Ways to round a weight that look at more than one number: at the error of its whole block, or at
the inputs that the layer meets."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.filling.quantize import (
    BlockFormat,
    grid,
    grouped,
    nearest,
    pack,
    store,
)
from kyutai_onnx.export.modules.linear import Linear
from kyutai_onnx.export.verification.layerwise_forward import LayerwiseTransformer
from kyutai_onnx.export.verification.quality_gate import ScoredTranscript

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
"""Parts of a block's range that are tried."""
DAMPING = 0.01
"""Of the mean second moment, added to each (GPTQ's own)."""


def pack_searched(path: str, weight: Array, blocks: BlockFormat) -> Arrays:  # noqa: ARG001
    """Rounds to the nearest on the grid of least squared error: needs no data."""
    in_blocks = grouped(weight, blocks)
    scales, zeros = searched(in_blocks, blocks)
    return store(nearest(in_blocks, scales, zeros, blocks), scales, zeros, blocks)


def searched(in_blocks: Array, blocks: BlockFormat) -> tuple[Array, Array]:
    """`grid` of the clipped range that serves each block best."""
    low, high = in_blocks.min(-1, keepdims=True), in_blocks.max(-1, keepdims=True)
    scales, zeros = grid(in_blocks, blocks)
    least = _error(in_blocks, scales, zeros, blocks)
    signs = (1, -1) if blocks.symmetric else (1,)
    for below, above, sign in product(SHRUNK, SHRUNK, signs):
        if blocks.symmetric and below != above:
            continue
        clipped = np.maximum(np.minimum(in_blocks, above * high), below * low)
        tried, middle = grid(clipped, blocks)
        error = _error(in_blocks, sign * tried, middle, blocks)
        better = error < least
        least = np.where(better, error, least)
        scales = np.where(better, sign * tried, scales)
        zeros = np.where(better, middle, zeros)
    return scales, zeros


def _error(in_blocks: Array, scales: Array, zeros: Array, blocks: BlockFormat) -> Array:
    rounded = (nearest(in_blocks, scales, zeros, blocks) - zeros) * scales
    error: Array = np.square(rounded - in_blocks).sum(-1, keepdims=True)
    return error


def pack_compensated(
    moments: Mapping[str, Array], path: str, weight: Array, blocks: BlockFormat
) -> Arrays:
    """GPTQ: column by column, what rounding one spoils the columns after it make good, as far as
    the layer's inputs go together. `moments [in, in]` by layer; one without is rounded plainly."""
    if path not in moments:
        return pack(weight, blocks)
    count, size = blocks.count(weight.shape[1]), blocks.size
    upper = _spread(moments[path], count * size)
    left = np.pad(weight.astype(np.float64), ((0, 0), (0, count * size - weight.shape[1])))
    levels, scales, zeros = [], [], []
    for first in range(0, count * size, size):
        after = first + size
        block, within = left[:, first:after], upper[first:after, first:after]
        scale, zero = searched(block, blocks)
        errors, rounded = np.empty_like(block), np.empty_like(block)
        for index in range(size):
            column = block[:, index : index + 1]
            level = nearest(column, scale, zero, blocks)
            error = (column - (level - zero) * scale) / within[index, index]
            rounded[:, index : index + 1], errors[:, index : index + 1] = level, error
            block[:, index:] -= error * within[index, index:]
        left[:, after:] -= errors @ upper[first:after, after:]
        levels.append(rounded)
        scales.append(scale)
        zeros.append(zero)
    stacked = [np.stack(parts, axis=1).astype(np.float32) for parts in (levels, scales, zeros)]
    return store(stacked[0], stacked[1], stacked[2], blocks)


def _spread(moments: Array, width: int) -> Array:
    """How the error of each column goes on to those after it: the Cholesky factor of the inverse of
    the second moments, padded to so many columns."""
    whole = np.eye(width)
    damp = DAMPING * moments.diagonal().mean()
    whole[: len(moments), : len(moments)] = moments + damp * np.eye(len(moments))
    factor: Array = np.linalg.cholesky(np.linalg.inv(whole)).T
    return factor


def input_moments(checkpoint: Checkpoint, said: Sequence[ScoredTranscript]) -> Arrays:
    """The mean of `x x^T` over the inputs of every linear layer, in fp32, at what was said."""
    config, tensors = checkpoint.config.lm, checkpoint.lm
    assert config is not None
    assert tensors is not None
    frames = max(len(one.tokens) for one in said)
    tokens = np.zeros((len(said), frames, 1 + config.n_q), np.int64)
    real = torch.zeros(len(said), frames, dtype=torch.bool)
    for index, one in enumerate(said):
        tokens[index, : len(one.tokens)] = one.tokens
        real[index, : len(one.tokens)] = True
    found: Arrays = {}

    def note(path: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:  # noqa: ARG001
        x = inputs[0][real].double()
        found[path] = (x.T @ x / len(x)).numpy()

    whole = LayerwiseTransformer(config, tensors, frames)
    for path, module in whole.named_modules():
        if isinstance(module, Linear):
            module.register_forward_pre_hook(partial(note, path))
    whole.text_scores(tokens)
    return found
