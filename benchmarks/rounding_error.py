"""What rounding a weight changes of a layer's output, at a published size.

    python -m benchmarks.rounding_error [--inputs 2048] [--outputs 512]

The weight is normal noise: nothing in it is easier to round than the rest. The error is that of
`y = W x`, squared, against `y` squared, in percent: for inputs that have nothing to do with each
other, and for inputs most of which lies in few directions, as those of trained layers do.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kyutai_onnx.export.quantization.quantize import BlockFormat, unpack
from kyutai_onnx.export.quantization.recipe import pack_alike

from .compensated import pack_compensated, pack_searched
from .low_precision import SIZES, name_of

LAYER = "layer"
Way = Callable[[str, Tensor, BlockFormat], dict[str, Any]]


def moments(dim: int, noise: torch.Generator) -> dict[str, Tensor]:
    """Second moments of inputs: all directions alike, and the k-th one k times weaker."""
    turned, _ = torch.linalg.qr(torch.randn(dim, dim, generator=noise, dtype=torch.float64))
    shares = dim / torch.arange(1, dim + 1, dtype=torch.float64)
    return {
        "unrelated": torch.eye(dim, dtype=torch.float64),
        "related": turned @ torch.diag(shares / shares.mean()) @ turned.T,
    }


def output_error(weight: Tensor, rounded: Tensor, inputs: Tensor) -> float:
    """Of the output's square, in the mean over inputs of those second moments."""
    off = (rounded - weight).double()
    exact = weight.double()
    return float(((off @ inputs) * off).sum() / ((exact @ inputs) * exact).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--outputs", type=int, default=512)
    chosen = parser.parse_args()
    noise = torch.Generator().manual_seed(0)
    weight = torch.randn(chosen.outputs, chosen.inputs, generator=noise)
    known = moments(chosen.inputs, noise)
    print("| recipe | bits a weight | " + " | ".join(f"{name} inputs" for name in known) + " |")
    print("|---" * (2 + len(known)) + "|")
    formats = [BlockFormat(8, size) for size in SIZES]
    formats += [BlockFormat(4, size, symmetric) for symmetric in (True, False) for size in SIZES]
    for blocks in formats:
        print(_line(name_of(blocks), blocks, weight, known, ""))
        if blocks.bits == 4:
            for how in ("searched", "compensated"):
                print(_line(f"{name_of(blocks)}, {how}", blocks, weight, known, how), flush=True)


def _line(
    name: str, blocks: BlockFormat, weight: Tensor, known: dict[str, Tensor], how: str
) -> str:
    cells = []
    for inputs in known.values():
        ways: dict[str, Way] = {
            "": pack_alike,
            "searched": pack_searched,
            "compensated": partial(pack_compensated, {LAYER: inputs}),
        }
        arrays = ways[how](LAYER, weight, blocks)
        rounded = torch.from_numpy(unpack(arrays, blocks, weight.shape[1]))
        cells.append(f"{100 * output_error(weight, rounded, inputs):.4f} %")
    bits = 8 * sum(array.nbytes for array in arrays.values()) / weight.numel()
    return f"| {name} | {bits:.2f} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
