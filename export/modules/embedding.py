"""The token embeddings of the language model (moshi models/lm_utils.py `ScaledEmbedding`).

Every table ends with a row of zeros, which token -1 stands for.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conversion.checkpoint.config import LMConfig
from ...conversion.filling.formula import Formula, joined
from .linear import Style
from .step import Below, Weighted, empty, stored_as


class Embeddings(Weighted):
    """The tables of the temporal transformer in one, so that a step gathers once: the audio
    codebooks in order, then text unless it is two streams in one."""

    rooted = True

    def __init__(self, config: LMConfig, style: Style) -> None:
        super().__init__()
        self._config, self._compute = config, style.compute
        self._audio_rows = config.card + 1
        self._text_row = config.n_q * self._audio_rows
        self._gathers_text = not config.demux_second_text_stream
        text_rows = config.text_card + 1 if self._gathers_text else 0
        self._zero_row = self._text_row + text_rows
        self.table = empty(self._zero_row + 1, config.dim, dtype=style.stored)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens [B, 1 + n_q]`, text first, to their sum `[B, 1, dim]`; of two text streams in
        one, the audio's alone."""
        audio = torch.arange(self._config.n_q) * self._audio_rows
        first_rows = torch.cat([torch.full((1,), self._text_row), audio])
        rows = torch.where(tokens < 0, self._zero_row, tokens + first_rows)
        if not self._gathers_text:  # selected, since WebGPU cuts no integers
            rows = torch.where(torch.arange(tokens.shape[1]) > 0, rows, self._zero_row)
        return F.embedding(rows, self.table).to(self._compute).sum(dim=1, keepdim=True)

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        names = [f"emb.{k}." for k in range(self._config.n_q)]
        tables = [
            stored_as(
                normed(Below(checkpoint.prefix + name), norm=self._config.norm_emb),
                self.table.dtype,
            )
            for name in ((*names, "text_emb.") if self._gathers_text else names)
        ]
        return joined(*tables).padded(1)


class TokenEmbedding(Weighted):
    """One table, in a low rank where `width` is less than `dim`; of text that is two streams in
    one, a projection for each."""

    def __init__(
        self,
        rows: int,
        width: int,
        dim: int,
        style: Style,
        *,
        low_rank: bool = False,
        norm: bool = False,
        second_stream: bool = False,
    ) -> None:
        super().__init__()
        self._zero_row, self._norm, self._compute = rows, norm, style.compute
        self.weight = empty(rows + 1, width, dtype=style.stored)
        self.low_rank, self.out1, self.out2 = None, None, None
        if second_stream:
            self.out1, self.out2 = style.linear(width, dim), style.linear(width, dim)
        elif low_rank:
            self.low_rank = style.linear(width, dim)

    def forward(self, token: Tensor, second: Tensor | None = None) -> Tensor:
        """`token [B]`, and the second stream's, to `[B, 1, dim]`."""
        x = self._gather(token)
        if self.out1 is not None and self.out2 is not None and second is not None:
            y: Tensor = self.out1(x) + self.out2(self._gather(second))
            return y
        return x if self.low_rank is None else self.low_rank(x)

    def _gather(self, token: Tensor) -> Tensor:
        rows = torch.where(token < 0, self._zero_row, token)[:, None]
        return F.embedding(rows, self.weight).to(self._compute)

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        return stored_as(normed(checkpoint, norm=self._norm), self.weight.dtype).padded(1)


def normed(checkpoint: Below, *, norm: bool) -> Formula:
    """A table's rows, after the layer norm that follows the look-up in some models."""
    rows = checkpoint.read("weight")
    if not norm:
        return rows
    return Formula(
        "layer_norm", (), (rows, *(checkpoint.read(f"norm.{p}") for p in ("weight", "bias")))
    )


def text_embedding(
    config: LMConfig, width: int, dim: int, style: Style, *, low_rank: bool
) -> nn.Module:
    """The table of the text's tokens, its initial one included."""
    return TokenEmbedding(
        config.text_card + 1,
        width,
        dim,
        style,
        low_rank=low_rank,
        norm=config.norm_emb,
        second_stream=config.demux_second_text_stream,
    )
