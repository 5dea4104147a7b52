"""Train the codec's decoder on the codes of the frozen encoder.

Run: `python -m training.decoder --work DIR`

First it matches spectra; then it must also pass for real before a small discriminator, and be
heard alike by the encoder. The encoder, the codes and so the language model stay as they are.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders
from torch import Tensor, nn

from training import dense, export, loop, ranks, scale
from training.config import CODEBOOKS, FRAME_SIZE, MIMI
from training.corpus import ENGLISH, FRENCH
from training.discriminator import Discriminator
from training.spectra import SpectralLoss
from training.takes import UNHEARD, Takes

PLAN = loop.Plan("decoder", steps=3_600, rate=1.2e-3, betas=(0.8, 0.99), seed=300)
BATCH = 6
VALIDATION = 48
FRAMES = 20
ADVERSARIAL_FROM = 3_000
LOUDNESS = 0.05
WEIGHTS = {
    "spectral": 1.0,
    "latent": 0.5,
    "adversarial": 0.05,
    "matching": 0.5,
    "discriminator": 1.0,
}
PARTS = ("upsample", "decoder_transformer", "decoder")


class Speaker(nn.Module):
    """The trained half of Mimi, and the discriminator."""

    def __init__(self, mimi: nn.Module) -> None:
        super().__init__()
        self.mimi = nn.ModuleDict({name: getattr(mimi, name) for name in PARTS})
        self.discriminator = Discriminator()

    def forward(self, latent: Tensor) -> Tensor:
        """[batch, 128, frames] -> [batch, samples]; the last layer in 32 bits, it is heard."""
        with torch.autocast("cpu", torch.bfloat16):
            (sound,) = self.mimi.decoder_transformer(self.mimi.upsample(latent))
            sound = dense.run(self.mimi.decoder.model[:-1], sound)
        return dense.run(self.mimi.decoder.model[-1:], sound.float())[:, 0]


class DecoderTask:
    """Random excerpts of 1.6 s of the takes."""

    def __init__(self, work: Path) -> None:
        path = work / "checkpoint" / export.MIMI_NAME
        self.frozen = loaders.get_mimi(path, MIMI, num_codebooks=CODEBOOKS)
        self.frozen.requires_grad_(False)
        torch.manual_seed(PLAN.seed)
        self.model = Speaker(loaders.get_mimi(None, MIMI, num_codebooks=CODEBOOKS))
        self.train = Takes(work, ENGLISH + FRENCH)
        self.unheard = Takes(work, (UNHEARD,))
        self.spectral = SpectralLoss()

    def begin(self) -> None:
        mimi = self.model.mimi
        latent = self.frozen.quantizer.decode(
            self.batch(self.train, np.random.default_rng(PLAN.seed))[1]
        )
        scale.raise_layer_scales(mimi)
        up = scale.deviation(mimi.upsample, lambda: self.model(latent))
        mimi.upsample.convtr.convtr.convtr.weight.data.mul_(1 / up)
        scale.equalise(mimi.decoder, lambda: self.model(latent), last=LOUDNESS)

    def batch(
        self, takes: Takes, rng: np.random.Generator, size: int = BATCH
    ) -> tuple[Tensor, Tensor]:
        """Samples [size, samples] and their codes [size, 8, frames]."""
        pcm = np.zeros((size, FRAMES * FRAME_SIZE), np.float32)
        codes = np.zeros((size, CODEBOOKS, FRAMES), np.int64)
        for row in range(size):
            sound, heard = takes[int(rng.integers(len(takes)))]
            while heard.shape[1] < FRAMES:
                sound, heard = takes[int(rng.integers(len(takes)))]
            first = int(rng.integers(heard.shape[1] - FRAMES + 1))
            pcm[row] = sound[first * FRAME_SIZE :][: FRAMES * FRAME_SIZE]
            codes[row] = heard[:, first : first + FRAMES]
        return torch.from_numpy(pcm), torch.from_numpy(codes)

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        real, codes = self.batch(self.train, rng)
        made = self.model(self.frozen.quantizer.decode(codes))
        losses = {"spectral": self.spectral(made, real)}
        if step >= ADVERSARIAL_FROM:
            losses["latent"] = (self.latent(made) - self.latent(real)).abs().mean()
            with torch.autocast("cpu", torch.bfloat16):
                losses |= self.model.discriminator.losses(real, made)
        losses["loss"] = sum(WEIGHTS[name] * value for name, value in losses.items())
        return losses

    def latent(self, pcm: Tensor) -> Tensor:
        """What the frozen encoder hears, before it is quantised."""
        with torch.autocast("cpu", torch.bfloat16):
            sound = dense.run(self.frozen.encoder.model, pcm[:, None])
            (sound,) = self.frozen.encoder_transformer(sound)
            return self.frozen.downsample(sound).float()

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """On unheard voices."""
        if step % 400:
            return {}
        real, codes = self.batch(self.unheard, np.random.default_rng(1), VALIDATION)
        made = self.model(self.frozen.quantizer.decode(codes))
        distance = (self.latent(made) - self.latent(real)).abs().mean()
        spectral = self.spectral(made, real)
        return {"unheard_spectral": float(spectral), "unheard_latent": float(distance)}


def train(work: Path) -> None:
    loop.train(DecoderTask(work), PLAN, work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    ranks.run(train, parser.parse_args().work)
