"""Train the codec's encoder and quantiser: codes that give the phonemes and the spectrum.

Run: `python -m training.codec --work DIR`

The first codebook alone must give the phonemes, which espeak-ng reports; all of them together
must give the phonemes and the clean spectrum. The heads that ask are thrown away.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders
from torch import Tensor, nn
from torch.nn import functional

from training import augment, dense, loop, ranks, scale
from training.config import FRAME_RATE, FRAME_SIZE, MIMI, PHONES_PER_FRAME, SAMPLE_RATE
from training.corpus import ENGLISH, FRENCH, Corpus
from training.layout import phone_labels
from training.spectra import Features

PLAN = loop.Plan("codec", steps=4_500, rate=2e-3, betas=(0.9, 0.99), seed=100)
BATCH = 8
FRAMES = 32
UNQUANTISED = 300
HOPS_PER_FRAME = FRAME_SIZE // Features.HOP
VALIDATION = 64


class Ahead(nn.Module):
    """Two convolutions from latents to predictions; `lookahead` sees one frame ahead."""

    def __init__(self, outputs: int, lookahead: bool) -> None:
        super().__init__()
        self.padding = (1, 1) if lookahead else (2, 0)
        self.first = nn.Conv1d(MIMI["seanet"]["dimension"], 192, 3)
        self.second = nn.Conv1d(192, outputs, 1)

    def forward(self, latent: Tensor) -> Tensor:
        return self.second(functional.gelu(self.first(functional.pad(latent, self.padding))))


class Codec(nn.Module):
    """Mimi, and the heads that teach its encoder."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.phones = phones
        self.mimi = loaders.get_mimi(None, MIMI, num_codebooks=MIMI["quantizer"]["n_q"])
        for part in (self.mimi.decoder, self.mimi.decoder_transformer, self.mimi.upsample):
            part.requires_grad_(False)
        self.semantic = Ahead(PHONES_PER_FRAME * phones, lookahead=True)
        self.complete = Ahead(PHONES_PER_FRAME * phones, lookahead=True)
        self.spectrum = Ahead(HOPS_PER_FRAME * Features.SIZE, lookahead=False)

    def latent(self, pcm: Tensor) -> Tensor:
        """[batch, samples] -> [batch, 128, frames], before quantisation."""
        sound = dense.run(self.mimi.encoder.model, pcm[:, None])
        (latent,) = self.mimi.encoder_transformer(sound)
        return self.mimi.downsample(latent)

    def quantised(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The first codebook's part, the sum of all parts, and the commitment penalty."""
        quantizer = self.mimi.quantizer
        first = quantizer.rvq_first(latent, FRAME_RATE)
        rest = quantizer.rvq_rest(latent, FRAME_RATE)
        share = 1 / MIMI["quantizer"]["n_q"]
        return first.x, first.x + rest.x, first.penalty * share + rest.penalty * (1 - share)

    def unquantised(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantizer = self.mimi.quantizer
        first = quantizer.rvq_first.output_proj(quantizer.rvq_first.input_proj(latent))
        rest = quantizer.rvq_rest.output_proj(quantizer.rvq_rest.input_proj(latent))
        return first, first + rest, latent.new_zeros(())

    def phone_logits(self, head: Ahead, latent: Tensor) -> Tensor:
        """[batch, phones, 20 ms steps]"""
        batch, _, frames = latent.shape
        logits = head(latent).view(batch, self.phones, PHONES_PER_FRAME, frames)
        return logits.mT.flatten(2)

    def features(self, latent: Tensor) -> Tensor:
        """[batch, 10 ms steps, 88]"""
        batch, _, frames = latent.shape
        features = self.spectrum(latent).view(batch, Features.SIZE, HOPS_PER_FRAME, frames)
        return features.permute(0, 3, 2, 1).flatten(1, 2)


class CodecTask:
    """Random 2.56 s excerpts of the corpora, corrupted."""

    def __init__(self, work: Path) -> None:
        self.ids = json.loads((work / "phones.json").read_text())
        self.model = Codec(len(self.ids) + 1)
        self.train = Corpus(work / "corpus", ENGLISH + FRENCH)
        self.unheard = Corpus(work / "corpus", ("validation-unheard",))
        self.features = Features()
        self.plan = augment.Plan()

    def begin(self) -> None:
        torch.manual_seed(PLAN.seed)
        mimi = self.model.mimi
        scale.raise_layer_scales(mimi)
        pcm = self.batch(self.train, np.random.default_rng(PLAN.seed), BATCH)[0]
        scale.equalise(mimi.encoder, lambda: mimi.encoder(pcm[:, None]))
        down = scale.deviation(mimi.downsample, lambda: self.model.latent(pcm))
        mimi.downsample.conv.conv.conv.weight.data.mul_(1 / down)

    def batch(self, corpus: Corpus, rng: np.random.Generator, size: int) -> list[Tensor]:
        """Recordings and their clean sources [size, samples], and phonemes [size, 20 ms steps]."""
        excerpts = [self.excerpt(corpus, rng) for _ in range(size)]
        return [torch.from_numpy(np.stack(column)) for column in zip(*excerpts, strict=True)]

    def excerpt(self, corpus: Corpus, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        spoken = augment.random_speed(corpus[int(rng.integers(len(corpus)))], rng, self.plan)
        length = FRAMES * FRAME_SIZE
        start = int(rng.uniform(-0.8, len(spoken.pcm) / SAMPLE_RATE - 0.8) * SAMPLE_RATE)
        clean = np.zeros(length, np.float32)
        source = spoken.pcm[max(0, start) : start + length]
        clean[max(0, -start) :][: len(source)] = source
        recorded, gain = augment.corrupt(clean, rng, self.plan)
        count = FRAMES * PHONES_PER_FRAME
        labels = phone_labels(spoken.phones, self.ids, start / SAMPLE_RATE, count)
        return recorded, gain * clean, labels

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        self.model.train()
        return self.score(self.batch(self.train, rng, BATCH), quantise=step >= UNQUANTISED)

    def score(self, batch: list[Tensor], quantise: bool) -> dict[str, Tensor]:
        recorded, clean, labels = batch
        with torch.autocast("cpu", torch.bfloat16):
            latent = self.model.latent(recorded)
        bottleneck = self.model.quantised if quantise else self.model.unquantised
        first, full, penalty = bottleneck(latent.float())
        with torch.autocast("cpu", torch.bfloat16):
            semantic = self.model.phone_logits(self.model.semantic, first)
            complete = self.model.phone_logits(self.model.complete, full)
            features = self.model.features(full)
        losses = {
            "semantic": functional.cross_entropy(semantic.float(), labels),
            "complete": functional.cross_entropy(complete.float(), labels),
            "spectrum": (features.float() - self.features(clean)).abs().mean(),
            "penalty": penalty,
        }
        weights = {"semantic": 1.0, "complete": 1.0, "spectrum": 2.0, "penalty": 0.25}
        losses["loss"] = sum(weights[name] * value for name, value in losses.items())
        heard = labels > 0
        losses["accuracy"] = (complete.argmax(1) == labels)[heard].float().mean()
        return losses

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """On unheard voices, as corrupted as in training."""
        if step % 400:
            return {}
        self.model.eval()
        batch = self.batch(self.unheard, np.random.default_rng(1), VALIDATION)
        scores = self.score(batch, quantise=step > UNQUANTISED)
        return {f"unheard_{name}": float(value) for name, value in scores.items()}


def train(work: Path) -> None:
    loop.train(CodecTask(work), PLAN, work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    ranks.run(train, parser.parse_args().work)
