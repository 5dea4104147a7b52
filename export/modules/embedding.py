"""The token embeddings of a temporal transformer (moshi models/lm_utils.py `ScaledEmbedding`)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import LMConfig
from .step import Below, Weighted, empty, to_numpy


class Embeddings(Weighted):
    """Every table of the model in one, so that a step gathers once: the audio codebooks in order,
    then text, then the row of zeros that token -1 stands for."""

    rooted = True

    def __init__(self, config: LMConfig, stored: torch.dtype, compute: torch.dtype) -> None:
        super().__init__()
        self._config, self._compute = config, compute
        self._audio_rows = config.card + 1
        self._zero_row = config.n_q * self._audio_rows + config.text_card + 1
        self.table = empty(self._zero_row + 1, config.dim, dtype=stored)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens [B, 1 + n_q]`, text first, to their sum `[B, 1, dim]`."""
        text_row = self._config.n_q * self._audio_rows
        audio = torch.arange(self._config.n_q) * self._audio_rows
        first_rows = torch.cat([torch.full((1,), text_row), audio])
        rows = torch.where(tokens < 0, self._zero_row, tokens + first_rows)
        return F.embedding(rows, self.table).to(self._compute).sum(dim=1, keepdim=True)

    def materialize(self, parameter: str, tensors: Below) -> np.ndarray:  # noqa: ARG002
        value = np.zeros(self.table.shape, to_numpy(torch.empty(0), self.table.dtype).dtype)
        row = 0
        for name in (*(f"emb.{k}" for k in range(self._config.n_q)), "text_emb"):
            rows = to_numpy(self._normed(name, tensors), self.table.dtype)
            value[row : row + len(rows)] = rows
            row += len(rows)
        return value

    def _normed(self, name: str, tensors: Below) -> Tensor:
        rows = tensors.read(f"{name}.weight")
        if not self._config.norm_emb:
            return rows
        weight, bias = (tensors.read(f"{name}.norm.{p}") for p in ("weight", "bias"))
        return F.layer_norm(rows, (rows.shape[1],), weight, bias, eps=1e-5)
