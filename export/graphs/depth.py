"""The depth transformer as a step that makes all codebooks of a frame (moshi models/lm.py
`LMGen.depformer_step`).

Tokens are sampled inside the graph, since each is the input of the next codebook; the random
numbers come from outside, so that they are the same on every provider.
"""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import LMConfig
from ..modules.depth import DepthLayers
from ..modules.embedding import TokenEmbedding, text_embedding
from ..modules.linear import Style
from ..modules.norm import make_norm
from ..modules.step import Step
from .step_module import Port, StepModule


class DepthTransformer(StepModule):
    """`hidden [batch, dim]` and the frame's text token to one code of each codebook.

    `candidates` is how many of the likeliest codes a draw is made among.
    """

    def __init__(self, config: LMConfig, candidates: int, style: Style) -> None:
        super().__init__(style.dialect)
        depth = config.depformer
        assert depth is not None
        self.config, self.depth, self.candidates = config, depth, candidates
        self._compute = style.compute
        rank = depth.low_rank_embeddings
        low, width = rank is not None, rank or depth.dim
        self.depformer_in = nn.ModuleList(
            style.linear(config.dim, depth.dim) for _ in range(depth.input_sets)
        )
        self.depformer_text_emb = text_embedding(config, width, depth.dim, style, low_rank=low)
        self.depformer_emb = nn.ModuleList(
            TokenEmbedding(
                config.card + 1, width, depth.dim, style, low_rank=low, norm=config.norm_emb
            )
            for _ in range(depth.codebooks - 1)
        )
        self.depformer = DepthLayers(depth, style)
        self.depformer_norms = nn.ModuleList(
            nn.Identity() if depth.norm is None else make_norm(depth.norm, depth.dim, style.dialect)
            for _ in range(depth.codebooks)
        )
        self.linears = nn.ModuleList(
            style.linear(depth.dim, config.card, bias=config.bias_proj, sensitive=True)
            for _ in range(depth.codebooks)
        )

    def inputs(self) -> list[Port]:
        codebooks, single = self.depth.codebooks, torch.float32
        text = [Port("text", torch.int64, ("batch",))]
        if self.config.demux_second_text_stream:
            text.append(Port("second_text", torch.int64, ("batch",)))
        return [
            Port("hidden", single, ("batch", self.config.dim)),
            *text,
            Port("forced", torch.int64, ("batch", codebooks)),
            Port("temperature", single, ("batch",)),
            Port("noise", single, ("batch", codebooks, self.candidates)),
            Port("conditioned", torch.int64, ("batch",)),
            Port("null", torch.int64, ("batch",)),
            Port("guidance", single, ("batch",)),
        ]

    def outputs(self) -> list[Port]:
        codebooks = range(self.depth.codebooks)
        return [Port(f"codes.{index}", torch.int64, ("batch",)) for index in codebooks]

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        given = dict(zip((port.name for port in self.inputs()), inputs, strict=True))
        hidden = given["hidden"].to(self._compute)[:, None]
        projected = [linear(hidden) for linear in self.depformer_in]
        past, codes = self.depformer.begin(), list[Tensor]()
        x = self.depformer_text_emb(given["text"], given.get("second_text"))
        for codebook in range(self.depth.codebooks):
            if codebook:
                x = self.depformer_emb[codebook - 1](codes[-1])
            x = self.depformer(projected[self.depth.input_set(codebook)] + x, codebook, past)
            logits = self.linears[codebook](self.depformer_norms[codebook](x))[:, 0].float()
            sampled = self._draw(guided(logits, given), codebook, given)
            forced = given["forced"][:, codebook]
            codes.append(torch.where(forced < -1, sampled, forced))
        return tuple(codes)

    def _draw(self, logits: Tensor, codebook: int, given: dict[str, Tensor]) -> Tensor:
        """One code `[B]` of `logits [B, card]`: the greatest of `p / e` among the likeliest, `e`
        exponential (moshi utils/sampling.py), or the best if the temperature is 0."""
        temperature = given["temperature"]
        scaled = logits / torch.where(temperature > 0, temperature, 1.0)[:, None]
        chances, candidates = torch.topk(torch.softmax(scaled, dim=-1), self.candidates)
        index = torch.argmax(chances / given["noise"][:, codebook], dim=-1, keepdim=True)
        # As floats, which hold every code: WebGPU gathers no integers.
        sampled = torch.gather(candidates.float(), 1, index)[:, 0].to(index.dtype)
        return torch.where(temperature > 0, sampled, torch.argmax(logits, dim=-1))


def guided(logits: Tensor, given: dict[str, Tensor]) -> Tensor:
    """Classifier-free guidance between rows; a row that is its own null keeps what it has."""
    null = logits[given["null"]]
    return null + (logits[given["conditioned"]] - null) * given["guidance"][:, None]
