"""Round the language model's weights as a quantised format would, to see what that costs.

Run: `python -m training.quantise --work DIR`

Prints the mean negative log likelihood of the right text tokens of the validation sequences for
each format; the differences rank formats more finely than word errors do.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import codes
from training.config import TEXT_PAD
from training.lm import inputs
from training.transcriber import Transcriber

BATCH = 20


@dataclass(frozen=True)
class Format:
    """Symmetric integers of some bits with one scale per block of inputs."""

    bits: int
    block: int

    def round(self, weight: Tensor) -> Tensor:
        """[outputs, inputs], each row in blocks; the inputs must divide into blocks."""
        blocks = weight.float().unflatten(1, (-1, self.block))
        high = 2 ** (self.bits - 1) - 1
        scale = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-9)
        scale = scale / (high if self.bits > 4 else high + 0.5)
        rounded = (blocks / scale).round().clamp(-high - 1, high) * scale
        return rounded.flatten(1).to(weight.dtype)


FORMATS = {"int8": Format(8, 32), "int4": Format(4, 32), "int3": Format(3, 32)}


@torch.no_grad()
def round_weights(model: nn.Module, form: Format) -> int:
    """Round every linear layer of a model in place; returns how many."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        layer.weight.copy_(form.round(layer.weight))
    return len(layers)


@torch.no_grad()
def likelihood(lm: nn.Module, rows: dict[str, Tensor]) -> dict[str, float]:
    """Of all text tokens, and of the word pieces alone, when the past is right."""
    losses, pieces = [], []
    for first in range(0, len(rows["text"]), BATCH):
        batch = {key: tensor[first : first + BATCH] for key, tensor in rows.items()}
        _, logits = lm.forward_text(inputs(batch))
        text = batch["text"]
        loss = functional.cross_entropy(logits[:, 0].float().mT, text, reduction="none")
        losses.append(loss.flatten())
        pieces.append(loss[text > TEXT_PAD])
    return {"all": float(torch.cat(losses).mean()), "pieces": float(torch.cat(pieces).mean())}


def main(work: Path) -> None:
    names = ["validation-heard", "validation-unheard"]
    sets = {name: codes.read(work, [name]) for name in names}
    for name, form in {"float32": None, **FORMATS}.items():
        lm = Transcriber(work / "checkpoint").lm
        layers = round_weights(lm, form) if form else 0
        figures = {key: likelihood(lm, rows) for key, rows in sets.items()}
        print(name, layers, json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    main(parser.parse_args().work)
