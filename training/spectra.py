"""Log spectra of waveforms, as targets and as losses."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import SAMPLE_RATE

FLOOR = 1e-3


def mel_bank(window: int, bands: int, high: float) -> Tensor:
    """Triangular filters [bands, window / 2 + 1] from 40 Hz to `high` Hz."""
    top, bottom = (2595 * np.log10(1 + hz / 700) for hz in (high, 40))
    edges = 700 * (10 ** (np.linspace(bottom, top, bands + 2) / 2595) - 1)
    hz = np.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)
    rising = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))


class Features(nn.Module):
    """What the codes should encode of a sound, every 10 ms: a log mel spectrum up to 11 kHz, and
    the lowest bins of a longer spectrum, where the pitch is seen."""

    HOP = 240
    MELS = 56
    LOW_BINS = 32
    SIZE = MELS + LOW_BINS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("short", torch.hann_window(512), persistent=False)
        self.register_buffer("long", torch.hann_window(1024), persistent=False)
        self.register_buffer("bank", mel_bank(512, self.MELS, 11_000), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples / 240, 88], windows ending where their hop ends."""
        mel = torch.einsum("mf,bft->btm", self.bank, self._magnitude(pcm, self.short))
        low = self._magnitude(pcm, self.long)[:, 1 : self.LOW_BINS + 1].mT
        return torch.log(FLOOR + torch.cat([mel, low], 2)) / 2

    def _magnitude(self, pcm: Tensor, window: Tensor) -> Tensor:
        size = len(window)
        padded = functional.pad(pcm, (size - self.HOP, 0))
        spectrum = torch.stft(
            padded, size, self.HOP, window=window, center=False, return_complex=True
        )
        return spectrum.abs()


class SpectralLoss(nn.Module):
    """How far a sound is from another in log magnitude and in magnitude, at four resolutions."""

    WINDOWS = (256, 512, 1_024, 2_048)
    MEL_WINDOW = 1_024
    MELS = 80

    def __init__(self) -> None:
        super().__init__()
        bank = mel_bank(self.MEL_WINDOW, self.MELS, 11_000)
        self.register_buffer("bank", bank, persistent=False)
        for size in self.WINDOWS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Of two signals [batch, samples]."""
        losses = []
        for size in self.WINDOWS:
            ours, theirs = self._magnitude(made, size), self._magnitude(real, size)
            losses.append(_log_distance(ours, theirs) + _convergence(ours, theirs))
            if size == self.MEL_WINDOW:
                losses.append(_log_distance(self.bank @ ours, self.bank @ theirs))
        return torch.stack(losses).sum() / len(self.WINDOWS)

    def _magnitude(self, pcm: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        spectrum = torch.stft(pcm, size, size // 4, window=window, return_complex=True)
        return spectrum.abs().clamp(min=1e-5)


def _log_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    return (torch.log(ours + FLOOR) - torch.log(theirs + FLOOR)).abs().mean()


def _convergence(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours - theirs).norm() / (theirs.norm() + FLOOR)
