"""A small judge of spectrograms, for adversarial training of the decoder."""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

WINDOWS = (512, 1_024)
CHANNELS = 16
KERNEL = (3, 9)


class Judge(nn.Module):
    """Convolutions over the complex spectrum of one window size."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList(
            [
                _conv(2, KERNEL, (1, 1)),
                *(_conv(CHANNELS, KERNEL, (1, 2)) for _ in range(3)),
                _conv(CHANNELS, (3, 3), (1, 1)),
            ]
        )
        self.verdict = weight_norm(nn.Conv2d(CHANNELS, 1, (3, 3), padding=(1, 1)))

    def forward(self, pcm: Tensor) -> list[Tensor]:
        """[batch, samples] -> the features of each layer, and last the verdicts."""
        size = len(self.window)
        spectrum = torch.stft(pcm, size, size // 4, window=self.window, return_complex=True)
        features = [torch.view_as_real(spectrum / size**0.5).permute(0, 3, 2, 1)]
        for layer in self.layers:
            features.append(functional.leaky_relu(layer(features[-1]), 0.2))
        return [*features[1:], self.verdict(features[-1])]


def _conv(inputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(inputs, CHANNELS, kernel, stride, padding))


class Discriminator(nn.Module):
    """Judges of several window sizes. Its own loss and the decoder's go into one backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(Judge(window) for window in WINDOWS)

    def forward(self, pcm: Tensor) -> list[list[Tensor]]:
        return [judge(pcm) for judge in self.judges]

    def losses(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The discriminator's hinge loss, and the decoder's: to pass for real, and to give the
        same features. Each reaches its own parameters only."""
        on_real, on_made = self(real), self(made.detach())
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        heard = functional_call(self, frozen, (made,))
        right = [functional.relu(1 - r[-1]).mean() for r in on_real]
        wrong = [functional.relu(1 + m[-1]).mean() for m in on_made]
        return {
            "discriminator": sum(right + wrong) / len(WINDOWS),
            "adversarial": -sum(h[-1].mean() for h in heard) / len(WINDOWS),
            "matching": sum(map(_distance, on_real, heard)) / len(WINDOWS),
        }


def _distance(real: list[Tensor], made: list[Tensor]) -> Tensor:
    """Mean relative distance of the features, the verdict left out."""
    pairs = list(zip(real[:-1], made[:-1], strict=True))
    distances = [(r.detach() - m).abs().mean() / r.detach().abs().mean() for r, m in pairs]
    return torch.stack(distances).mean()
