"""What a stream is conditioned on, as a graph that runs once a stream (moshi conditioners/)."""

import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import Conditioner, LMConfig, LutConditioner, TensorConditioner
from ...conversion.filling.formula import Formula, joined
from ..modules.cross_attention import CrossSource, state_names
from ..modules.linear import Linear, Style
from ..modules.step import Below, Step, Weighted, empty
from ..modules.transformer import sin_periods
from .step_module import Port, StepModule

SUM = "condition_sum"


class LutTable(Weighted):
    """A lookup table with its projection applied, and the learnt padding as its last row."""

    def __init__(self, config: LutConditioner, dim: int) -> None:
        super().__init__()
        self._config = config
        self.table = empty(config.n_bins + 1, dim)

    def forward(self, index: Tensor) -> Tensor:
        """`index [B]`, -1 for none, to `[B, 1, dim]`."""
        rows = torch.where(index < 0, self._config.n_bins, index)[:, None]
        return nn.functional.embedding(rows, self.table)

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        config, dim = self._config, self.table.shape[1]
        rows = checkpoint.read("embed.weight").rows(0, config.n_bins)
        if projects(config, dim):
            rows = Formula("product", (), (rows, checkpoint.read("output_proj.weight")))
        return joined(rows, padding(config, dim, checkpoint))


class TensorProjection(Weighted):
    """Vectors from outside, projected; the learnt padding if there are none."""

    def __init__(self, config: TensorConditioner, dim: int) -> None:
        super().__init__()
        self._config = config
        self.learnt_padding = empty(1, dim)
        self.output_proj = Linear(config.dim, dim) if projects(config, dim) else nn.Identity()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`vectors [B, T, D]` and `mask [B, T]` to `[B, T, dim]`."""
        return torch.where(mask[..., None], self.output_proj(vectors), self.learnt_padding)

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        return padding(self._config, self.learnt_padding.shape[1], checkpoint)


def projects(config: Conditioner, dim: int) -> bool:
    """Whether what a conditioner gives is brought to `dim` by a projection."""
    return config.force_linear or config.dim != dim


def padding(config: Conditioner, dim: int, checkpoint: Below) -> Formula:
    """`[1, dim]`: what stands for no value."""
    if not config.learn_padding:
        return Formula("zeros", (1, dim))
    return checkpoint.read("learnt_padding").reshaped(1, dim)


class SourcePositions(Weighted):
    """Sinusoidal positions of the source of cross-attention, `[length, dim]`."""

    def __init__(self, length: int, dim: int, scale: float) -> None:
        super().__init__()
        self._scale = scale
        self.table = empty(length, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table

    def source(self, parameter: str, checkpoint: Below) -> Formula:  # noqa: ARG002
        length, dim = self.table.shape
        return Formula("positions", (length, self._scale, *sin_periods(dim // 2, 10_000).tolist()))


class ConditionProvider(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(
            {
                name: LutTable(conditioner, config.dim)
                if isinstance(conditioner, LutConditioner)
                else TensorProjection(conditioner, config.dim)
                for name, conditioner in config.conditioners.items()
            }
        )


class CrossSourceLayer(nn.Module):
    def __init__(self, config: LMConfig, style: Style) -> None:
        super().__init__()
        self.cross_attention = CrossSource(config.transformer, style)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = self.cross_attention(source)
        return made


class CrossSources(nn.Module):
    def __init__(self, config: LMConfig, style: Style) -> None:
        super().__init__()
        layers = config.transformer.num_layers if config.transformer.cross_attention else 0
        self.layers = nn.ModuleList(CrossSourceLayer(config, style) for _ in range(layers))

    def forward(self, source: Tensor) -> list[Tensor]:
        """Keys and values of every layer."""
        return [part for layer in self.layers for part in layer(source)]


class Conditions(StepModule):
    """The conditioners' inputs to the constants of the temporal transformer, by their names."""

    def __init__(self, config: LMConfig, speakers: int, style: Style) -> None:
        super().__init__(style.dialect)
        assert config.fuser is not None
        self.config, self.fuser = config, config.fuser
        self.lengths = config.condition_lengths(speakers)
        self._source = config.source_length(speakers)
        self._style = style
        self.condition_provider = ConditionProvider(config)
        self.transformer = CrossSources(config, style)
        self.positions = None
        if self.fuser.cross and self.fuser.cross_attention_pos_emb:
            scale = self.fuser.cross_attention_pos_emb_scale
            self.positions = SourcePositions(self._source, config.dim, scale)

    def inputs(self) -> list[Port]:
        ports = []
        for name, conditioner in self.config.conditioners.items():
            if isinstance(conditioner, LutConditioner):
                ports.append(Port(name, torch.int64, ("batch",)))
            else:
                length = self.lengths[name]
                ports.append(Port(name, torch.float32, ("batch", length, conditioner.dim)))
                ports.append(Port(f"{name}.mask", torch.bool, ("batch", length)))
        return ports

    def outputs(self) -> list[Port]:
        transformer, dtype = self.config.transformer, self._style.compute
        ports = []
        if self.fuser.sum:
            ports.append(Port(SUM, dtype, ("batch", self.config.dim)))
        shape = (transformer.num_heads, self._source)
        layers = range(len(self.transformer.layers))
        names = (name for layer in layers for name in state_names(layer))
        ports += [Port(name, dtype, ("batch", *shape, transformer.head_dim)) for name in names]
        return ports

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        given = dict(zip((port.name for port in self.inputs()), inputs, strict=True))
        made = {
            name: conditioner(*(given[key] for key in (name, f"{name}.mask") if key in given))
            for name, conditioner in self.condition_provider.conditioners.items()
        }
        outputs = []
        if self.fuser.sum:
            total = sum(made[name] for name in self.fuser.sum)
            assert isinstance(total, Tensor)
            outputs.append(total[:, 0].to(self._style.compute))
        if len(self.transformer.layers):
            source = torch.cat([made[name] for name in self.fuser.cross], dim=1)
            if self.positions is not None:
                source = self.positions(source)
            source = source.to(self._style.compute)
            outputs += self.transformer(source)
        return tuple(outputs)
