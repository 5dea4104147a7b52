"""Normalisation layers (moshi modules/transformer.py `create_norm_fn`)."""

from torch import Tensor
from torch.nn import functional as F

from ...conversion.filling.formula import Formula
from .opset_dialect import OpsetDialect
from .step import Below, Weighted, empty

EPS = {"layer_norm": 1e-5, "layer_norm_f32": 1e-8, "rms_norm": 1e-5, "rms_norm_f32": 1e-8}


class RMSNorm(Weighted):
    def __init__(self, dim: int, eps: float, dialect: OpsetDialect) -> None:
        super().__init__()
        self.eps = eps
        self.alpha = empty(dim)
        self._dialect = dialect

    def forward(self, x: Tensor) -> Tensor:
        return self._dialect.rms_norm(x.float(), self.alpha, self.eps).to(x.dtype)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        return checkpoint.read(parameter).scaled(self._dialect.alpha_scale(len(self.alpha)))


class LayerNorm(Weighted):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = empty(dim)
        self.bias = empty(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.float(), (x.shape[-1],), self.weight, self.bias, self.eps)
        return y.to(x.dtype)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        return checkpoint.read(parameter)


def make_norm(kind: str, dim: int, dialect: OpsetDialect) -> Weighted:
    """The normalisation that the configuration names; always computed in float32."""
    if kind.startswith("rms"):
        return RMSNorm(dim, EPS[kind], dialect)
    return LayerNorm(dim, EPS[kind])
