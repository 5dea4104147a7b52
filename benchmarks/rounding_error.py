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

import numpy as np

from kyutai_onnx.conversion.filling.quantize import BlockFormat, unpack
from kyutai_onnx.conversion.filling.recipe import pack_alike

from .compensated import Array, pack_compensated, pack_searched
from .low_precision import SIZES, name_of

LAYER = "layer"
Way = Callable[[str, Array, BlockFormat], dict[str, Any]]


def moments(dim: int, noise: np.random.Generator) -> dict[str, Array]:
    """Second moments of inputs: all directions alike, and the k-th one k times weaker."""
    turned, _ = np.linalg.qr(noise.standard_normal((dim, dim)))
    shares = dim / np.arange(1, dim + 1)
    return {
        "unrelated": np.eye(dim),
        "related": turned @ np.diag(shares / shares.mean()) @ turned.T,
    }


def output_error(weight: Array, rounded: Array, inputs: Array) -> float:
    """Of the output's square, in the mean over inputs of those second moments."""
    off = (rounded - weight).astype(np.float64)
    exact = weight.astype(np.float64)
    return float(((off @ inputs) * off).sum() / ((exact @ inputs) * exact).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--outputs", type=int, default=512)
    chosen = parser.parse_args()
    noise = np.random.default_rng(0)
    weight = noise.standard_normal((chosen.outputs, chosen.inputs), np.float32)
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


def _line(name: str, blocks: BlockFormat, weight: Array, known: dict[str, Array], how: str) -> str:
    cells = []
    for inputs in known.values():
        ways: dict[str, Way] = {
            "": pack_alike,
            "searched": pack_searched,
            "compensated": partial(pack_compensated, {LAYER: inputs}),
        }
        arrays = ways[how](LAYER, weight, blocks)
        rounded = unpack(arrays, blocks, weight.shape[1])
        cells.append(f"{100 * output_error(weight, rounded, inputs):.4f} %")
    bits = 8 * sum(array.nbytes for array in arrays.values()) / weight.size
    return f"| {name} | {bits:.2f} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
