"""Train the speech-to-text language model on codes.

Run: `python -m training.lm --work DIR`
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from torch import Tensor, nn
from torch.nn import functional

from training import codes, export, loop, ranks
from training.config import (
    BINS,
    CODEBOOKS,
    INITIAL_TOKENS,
    LM,
    MIMI,
    PHONES_PER_FRAME,
    TEXT_CARD,
    TEXT_PAD,
)

PLAN = loop.Plan("lm", steps=6_000, rate=2e-3, decay=0.03, seed=200)
BATCH = 6
PAD_WEIGHT = 0.4
VAD_WEIGHT = 0.3
PHONE_WEIGHT = 0.2
PHONE_LAG = 4
EMBEDDING_SCALE = 0.35
VALIDATION = 24
HEAVY, LIGHT = 0.6, 0.08


class Recognizer(nn.Module):
    """The language model, and the head that makes it predict the phonemes while it learns."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.lm = loaders.get_moshi_lm(None, LM, dtype=torch.float32)
        self.phones = nn.Linear(LM["dim"], PHONES_PER_FRAME * phones)


class LMTask:
    """Random sequences of codes, their input corrupted."""

    def __init__(self, work: Path) -> None:
        ids = json.loads((work / "phones.json").read_text())
        torch.manual_seed(PLAN.seed)
        self.model = Recognizer(len(ids) + 1)
        self.train = codes.read(work, codes.train_names())
        names = ("heard", "unheard")
        self.validation = {name: codes.read(work, [f"validation-{name}"]) for name in names}
        self.mimi = work / "checkpoint" / export.MIMI_NAME
        self.weights = torch.ones(TEXT_CARD)
        self.weights[TEXT_PAD] = PAD_WEIGHT

    def begin(self) -> None:
        embed_codes(self.model.lm, loaders.get_mimi(self.mimi, MIMI, num_codebooks=CODEBOOKS))

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        self.model.train()
        rows = torch.from_numpy(rng.integers(0, len(self.train["text"]), BATCH))
        batch = {name: tensor[rows] for name, tensor in self.train.items()}
        losses = self.score(batch, corrupt(inputs(batch)))
        fading = PHONE_WEIGHT * (1 - step / PLAN.steps)
        losses["loss"] = losses["text"] + VAD_WEIGHT * losses["vad"] + fading * losses["phones"]
        return losses

    def score(self, batch: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            hidden, logits = self.model.lm.forward_text(rows)
            heads = [head(hidden) for head in self.model.lm.extra_heads]
            phones = self.model.phones(hidden[:, PHONE_LAG:])
        logits, text = logits[:, 0].float(), batch["text"]
        vad = torch.stack([_cross_entropy(h, batch["vad"][:, :, k]) for k, h in enumerate(heads)])
        phones = phones.unflatten(2, (PHONES_PER_FRAME, -1))
        right = logits.argmax(2) == text
        return {
            "text": functional.cross_entropy(logits.transpose(1, 2), text, weight=self.weights),
            "vad": vad.mean(),
            "phones": _cross_entropy(phones, batch["phones"][:, :-PHONE_LAG]),
            "accuracy": right[text > TEXT_PAD].float().mean(),
        }

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        if step % 400:
            return {}
        self.model.eval()
        figures = {}
        for name, rows in self.validation.items():
            batch = {key: tensor[:VALIDATION] for key, tensor in rows.items()}
            scores = self.score(batch, inputs(batch))
            figures |= {f"{name}_{key}": float(value) for key, value in scores.items()}
        return figures


def inputs(batch: dict[str, Tensor]) -> Tensor:
    """[batch, 9, frames]: the initial tokens, then the text and codes of the frame before."""
    rows = torch.cat([batch["text"][:, None], batch["codes"]], 1)
    initial = torch.tensor(INITIAL_TOKENS)[:, None].expand(len(rows), -1, 1)
    return torch.cat([initial, rows[:, :, :-1]], 2)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten())


@torch.no_grad()
def embed_codes(lm: LMModel, mimi: nn.Module) -> None:
    """Start the audio embeddings from the codebooks, turned at random: near codes, near inputs."""
    generator = torch.Generator().manual_seed(1)
    size = (LM["dim"], MIMI["quantizer"]["output_dimension"])
    quantizer = mimi.quantizer
    for rvq, first in ((quantizer.rvq_first, 0), (quantizer.rvq_rest, 1)):
        turn = torch.linalg.qr(torch.randn(size, generator=generator))[0]
        scale = None
        for k, layer in enumerate(rvq.vq.layers):
            vectors = layer.embedding @ rvq.output_proj.weight[:, :, 0].T
            vectors = (vectors - vectors.mean(0)) @ turn.T
            scale = scale or EMBEDDING_SCALE / vectors.pow(2).mean().sqrt()
            lm.emb[first + k].weight[:BINS] = vectors * scale
    lm.text_emb.weight.mul_(5)


def corrupt(clean: Tensor) -> Tensor:
    """Replace some of the text and of the codes at random: single codes, whole frames, and most
    of some codebooks. The model must not trust its own past, nor any one code."""
    text, audio = clean[:, :1, 1:], clean[:, 1:, 1:]
    batch, books, frames = audio.shape
    chance = torch.rand(text.shape)
    noise = torch.randint_like(text, TEXT_CARD)
    text = torch.where(chance < 0.07, TEXT_PAD, torch.where(chance < 0.13, noise, text))
    rate = torch.where(torch.rand(batch, books, 1) < 0.08, HEAVY, LIGHT)
    rate[:, 0] = LIGHT
    lost = (torch.rand(audio.shape) < rate) | (torch.rand(batch, 1, frames) < 0.03)
    audio = torch.where(lost, torch.randint_like(audio, BINS), audio)
    return torch.cat([clean[:, :, :1], torch.cat([text, audio], 1)], 2)


def train(work: Path) -> None:
    loop.train(LMTask(work), PLAN, work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    ranks.run(train, parser.parse_args().work)
