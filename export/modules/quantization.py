"""The split residual vector quantiser (moshi quantization/vq.py).

The first `n_q_semantic` codebooks and the rest each quantise the same latent through projections of
their own; the rest is not the residual of the first.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conversion.checkpoint.config import QuantizerConfig
from ...conversion.filling.formula import Formula, joined
from .step import Below, Weighted, empty


def centroids(checkpoint: Below, prefix: str = "") -> Formula:
    """`[bins, dim]`: sums of what fell to a cluster over its usage."""
    parts = (f"{prefix}embedding_sum", f"{prefix}cluster_usage")
    return Formula("centroids", (), tuple(map(checkpoint.read, parts)))


class EuclideanCodebook(Weighted):
    """`bins` vectors of `dim`: the nearest one to a vector, and the vector of a code."""

    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self.embedding = empty(bins, dim)
        self.half_norms = empty(bins)

    def nearest(self, x: Tensor) -> Tensor:
        """`x [N, dim]` to the codes `[N]`: least distance is greatest `x . e - |e|^2 / 2`."""
        return torch.argmax(F.linear(x, self.embedding, self.half_norms), dim=-1)

    def lookup(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.embedding)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        embedding = centroids(checkpoint)
        return embedding.then("half_norms") if parameter == "half_norms" else embedding


class VectorQuantization(nn.Module):
    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self._codebook = EuclideanCodebook(bins, dim)

    @property
    def codebook(self) -> EuclideanCodebook:
        return self._codebook


class SearchedCodebooks(nn.Module):
    """A residual chain of codebooks, to encode."""

    def __init__(self, codebooks: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            VectorQuantization(config.bins, config.dimension) for _ in range(codebooks)
        )

    def forward(self, residual: Tensor) -> list[Tensor]:
        """`residual [N, dim]` to one `[N]` of codes for each codebook."""
        codes: list[Tensor] = []
        codebooks = [cast("VectorQuantization", layer).codebook for layer in self.layers]
        for index, codebook in enumerate(codebooks):
            codes.append(codebook.nearest(residual))
            if index + 1 < len(codebooks):
                residual = residual - codebook.lookup(codes[-1])
        return codes


class SummedCodebooks(Weighted):
    """The same codebooks in one table, to decode; its last row is the zero that no code adds."""

    def __init__(self, codebooks: int, config: QuantizerConfig) -> None:
        super().__init__()
        self._codebooks, self._bins = codebooks, config.bins
        self.table = empty(codebooks * config.bins + 1, config.dimension)

    def forward(self, codes: Tensor) -> Tensor:
        """`codes [B, K, T]` to the sum of their vectors `[B, T, dim]`; -1 adds nothing."""
        first_rows = torch.arange(self._codebooks)[:, None] * self._bins
        rows = torch.where(codes < 0, self._codebooks * self._bins, codes + first_rows)
        return F.embedding(rows, self.table).sum(dim=1)

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        rows = [centroids(checkpoint, f"layers.{i}._codebook.") for i in range(self._codebooks)]
        return joined(*rows).padded(1)


class Projection(Weighted):
    """A convolution of kernel 1 without bias, as a matrix product."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.weight = empty(dim_in, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        dim_in, dim_out = self.weight.shape
        return checkpoint.read(parameter).reshaped(dim_out, dim_in).transposed(1, 0)


class ResidualVectorQuantizer(nn.Module):
    """One residual chain with its projection, in one direction."""

    def __init__(self, codebooks: int, config: QuantizerConfig, encodes: bool) -> None:
        super().__init__()
        self.vq: nn.Module
        if encodes:
            self.vq = SearchedCodebooks(codebooks, config)
            self.input_proj = Projection(config.input_dimension, config.dimension)
        else:
            self.vq = SummedCodebooks(codebooks, config)
            self.output_proj = Projection(config.dimension, config.output_dimension)

    def encode(self, latent: Tensor) -> list[Tensor]:
        codes: list[Tensor] = self.vq(self.input_proj(latent))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        latent: Tensor = self.output_proj(self.vq(codes))
        return latent


class SplitResidualVectorQuantizer(nn.Module):
    """`codebooks` of the configuration's `n_q`, the semantic ones first.

    Codes are moved about as floats, which hold them exactly: WebGPU does not move 64-bit integers.
    """

    def __init__(self, codebooks: int, config: QuantizerConfig, encodes: bool) -> None:
        super().__init__()
        self._semantic = config.n_q_semantic
        self.rvq_first = ResidualVectorQuantizer(config.n_q_semantic, config, encodes)
        rest = codebooks - config.n_q_semantic
        self.rvq_rest = ResidualVectorQuantizer(rest, config, encodes) if rest else None

    def encode(self, latent: Tensor) -> Tensor:
        """`latent [B, C, T]` to codes `[B, K, T]`."""
        batch, channels, _ = latent.shape
        flat = latent.transpose(1, 2).reshape(-1, channels)
        codes = self.rvq_first.encode(flat)
        if self.rvq_rest is not None:
            codes += self.rvq_rest.encode(flat)
        stacked = torch.stack(codes, dim=-1).reshape(batch, -1, len(codes))
        return stacked.float().transpose(1, 2).long()

    def decode(self, codes: Tensor) -> Tensor:
        """`codes [B, K, T]` to the latent `[B, C, T]`."""
        movable = codes.float()
        latent = self.rvq_first.decode(movable[:, : self._semantic].long())
        if self.rvq_rest is not None:
            latent = latent + self.rvq_rest.decode(movable[:, self._semantic :].long())
        return latent.transpose(1, 2)
