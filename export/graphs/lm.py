"""The temporal transformer as a step over one frame's tokens (moshi models/lm.py)."""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import LMConfig
from ..modules.attention import Frames
from ..modules.embedding import Embeddings, text_embedding
from ..modules.linear import Style
from ..modules.norm import make_norm
from ..modules.step import Stateful, StateSpec, Step
from ..modules.transformer import StreamingTransformer
from .conditions import SUM
from .step_module import Port, StepModule


class TemporalTransformer(StepModule):
    """`tokens [batch, 1 + n_q]`, text first, to `text_logits [batch, text_card_out]` and, of a
    model that has them, `extra_heads [batch, heads, classes]` as probabilities and `hidden
    [batch, dim]` for the depth transformer.

    A second text stream comes as `second_text [batch]`; conditions are constants, those of
    cross-attention `source` positions long.
    """

    def __init__(self, config: LMConfig, style: Style, source: int = 0) -> None:
        super().__init__(style.dialect)
        self.config = config
        self.embeddings = Embeddings(config, style)
        self.text_emb: nn.Module | None = None
        if config.demux_second_text_stream:
            self.text_emb = text_embedding(config, config.dim, config.dim, style, low_rank=False)
        self.condition = None
        if config.fuser is not None and config.fuser.sum:
            self.condition = ConditionSum(config.dim, style)
        self.transformer = StreamingTransformer(config.transformer, Frames(), style, source)
        self.out_norm = make_norm(config.transformer.norm, config.dim, style.dialect)
        self.text_linear = style.linear(
            config.dim, config.text_card_out, bias=config.bias_proj, sensitive=True
        )
        self.extra_heads = nn.ModuleList(
            style.linear(config.dim, config.extra_heads_dim, sensitive=True)
            for _ in range(config.extra_heads_num_heads)
        )

    def inputs(self) -> list[Port]:
        ports = [Port("tokens", torch.int64, ("batch", 1 + self.config.n_q))]
        if self.text_emb is not None:
            ports.append(Port("second_text", torch.int64, ("batch",)))
        return ports

    def outputs(self) -> list[Port]:
        config = self.config
        ports = [Port("text_logits", torch.float32, ("batch", config.text_card_out))]
        if len(self.extra_heads):
            heads = (config.extra_heads_num_heads, config.extra_heads_dim)
            ports.append(Port("extra_heads", torch.float32, ("batch", *heads)))
        if config.dep_q:
            ports.append(Port("hidden", torch.float32, ("batch", config.dim)))
        return ports

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:
        tokens, *second = inputs
        x = self.embeddings(tokens)
        if self.text_emb is not None:
            x = x + self.text_emb(tokens[:, 0], *second)
        if self.condition is not None:
            x = x + self.condition(step)
        hidden = self.out_norm(self.transformer(x, step))[:, 0]
        outputs = [self.text_linear(hidden).float()]
        if len(self.extra_heads):
            heads = torch.stack([head(hidden).float() for head in self.extra_heads], dim=1)
            outputs.append(torch.softmax(heads, dim=-1))
        if self.config.dep_q:
            outputs.append(hidden.float())
        return tuple(outputs)


class ConditionSum(Stateful):
    """The condition that is added to every input of a stream."""

    def __init__(self, dim: int, style: Style) -> None:
        super().__init__()
        self._spec = StateSpec(SUM, (dim,), style.compute, carry="constant")

    def states(self) -> list[StateSpec]:
        return [self._spec]

    def forward(self, step: Step) -> Tensor:
        return step.read(SUM)[:, None]
