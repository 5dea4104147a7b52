"""The temporal transformer as a step over one frame's tokens (moshi models/lm.py)."""

import torch
from torch import Tensor, nn

from .config import LMConfig
from .modules.attention import Frames
from .modules.embedding import Embeddings
from .modules.linear import Style
from .modules.norm import make_norm
from .modules.step import Step
from .modules.transformer import StreamingTransformer
from .step_module import Port, StepModule


class TemporalTransformer(StepModule):
    """`tokens [batch, 1 + n_q]`, text first, to `text_logits [batch, text_card_out]` and, of a
    model that has them, `extra_heads [batch, heads, classes]` as probabilities."""

    def __init__(self, config: LMConfig, style: Style) -> None:
        super().__init__(style.dialect)
        self.config = config
        self.embeddings = Embeddings(config, style.stored, style.compute)
        self.transformer = StreamingTransformer(config.transformer, Frames(), style)
        self.out_norm = make_norm(config.transformer.norm, config.dim, style.dialect)
        self.text_linear = style.linear(
            config.dim, config.text_card_out, bias=config.bias_proj, sensitive=True
        )
        self.extra_heads = nn.ModuleList(
            style.linear(config.dim, config.extra_heads_dim, sensitive=True)
            for _ in range(config.extra_heads_num_heads)
        )

    def inputs(self) -> list[Port]:
        return [Port("tokens", torch.int64, ("batch", 1 + self.config.n_q))]

    def outputs(self) -> list[Port]:
        config = self.config
        ports = [Port("text_logits", torch.float32, ("batch", config.text_card_out))]
        if len(self.extra_heads):
            heads = (config.extra_heads_num_heads, config.extra_heads_dim)
            ports.append(Port("extra_heads", torch.float32, ("batch", *heads)))
        return ports

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:
        (tokens,) = inputs
        hidden = self.out_norm(self.transformer(self.embeddings(tokens), step))[:, 0]
        outputs = [self.text_linear(hidden).float()]
        if len(self.extra_heads):
            heads = torch.stack([head(hidden).float() for head in self.extra_heads], dim=1)
            outputs.append(torch.softmax(heads, dim=-1))
        return tuple(outputs)
