"""Linear layers, plain or with weights of 8 or 4 bits, and the style that picks between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...conversion.filling.formula import Formula, quantized
from ...conversion.filling.quantize import BlockFormat
from .opset_dialect import OpsetDialect
from .step import Below, Weighted, empty, stored_as

Attribute = (
    int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
)
"""What an ONNX node's attribute may be."""

Arrange = Callable[[Formula], Formula]
"""What makes a weight `[out, in]`, or a bias `[out]`, of the checkpoint's tensor."""

Quantize = Callable[[Formula, BlockFormat, str], Formula]
"""What makes a part of a quantized weight of the weight `[out, in]`."""


def as_stored(weight: Formula) -> Formula:
    return weight


class Linear(Weighted):
    """`y = x W^T (+ b)`, with the weight laid out `[in, out]` as ONNX's MatMul reads it.

    `stored` is the type on disk and `compute` that of the product; if they differ, ONNX
    Runtime casts the weight once, when it loads.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        stored: torch.dtype = torch.float32,
        compute: torch.dtype = torch.float32,
        bias: bool = False,
        arrange: Arrange = as_stored,
        arrange_bias: Arrange = as_stored,
    ) -> None:
        super().__init__()
        self.weight = empty(dim_in, dim_out, dtype=stored)
        self.bias = empty(dim_out) if bias else None
        self._compute = compute
        self._arrange, self._arrange_bias = arrange, arrange_bias

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.to(self._compute)
        return y if self.bias is None else y + self.bias.to(self._compute)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        value = checkpoint.read(parameter)
        bias = parameter == "bias"
        value = self._arrange_bias(value) if bias else self._arrange(value).transposed(1, 0)
        return stored_as(value, getattr(self, parameter).dtype)


class QuantizedLinear(Weighted):
    """A linear layer of `com.microsoft.MatMulNBits`: blocks of the input axis share a scale."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        blocks: BlockFormat,
        accuracy_level: int,
        bias: bool = False,
        arrange: Arrange = as_stored,
        arrange_bias: Arrange = as_stored,
    ) -> None:
        super().__init__()
        self.dims = (dim_in, dim_out)
        self.write_as(blocks, quantized)
        self.bias = empty(dim_out) if bias else None
        self._accuracy_level = accuracy_level
        self._arrange, self._arrange_bias = arrange, arrange_bias

    def write_as(self, blocks: BlockFormat, quantize: Quantize) -> None:
        """Sets the format, and what turns the weight into it."""
        dim_in, dim_out = self.dims
        blocks = blocks.fit(dim_in)
        count = blocks.count(dim_in)
        self.blocks, self._quantize = blocks, quantize
        self.packed = empty(dim_out, count, blocks.bytes, dtype=torch.uint8)
        self.scales = empty(dim_out, count)
        self.zero_points = (
            None
            if blocks.symmetric
            else empty(dim_out, blocks.zero_bytes(dim_in), dtype=torch.uint8)
        )

    def forward(self, x: Tensor) -> Tensor:
        dim_in, dim_out = self.dims
        inputs = [x, self.packed, self.scales.to(x.dtype)]
        if self.zero_points is not None:
            inputs.append(self.zero_points)
        attributes: dict[str, Attribute] = {
            "K": dim_in,
            "N": dim_out,
            "bits": self.blocks.bits,
            "block_size": self.blocks.size,
            "accuracy_level": self._accuracy_level,
        }
        y: Tensor = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            inputs,
            attributes,
            dtype=x.dtype,
            shape=(*x.shape[:-1], dim_out),
            version=1,
        )
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def source(self, parameter: str, checkpoint: Below) -> Formula:
        if parameter == "bias":
            return self._arrange_bias(checkpoint.read("bias"))
        return self._quantize(self._arrange(checkpoint.read("weight")), self.blocks, parameter)


@dataclass(frozen=True)
class Style:
    """How a model is written down: its operators, its weights and the type it computes in.

    `blocks` is the format of the linear layers, `None` for plain ones stored as `stored`;
    `sensitive` that of the layers next to a decision (the text head, the extra heads).
    `rounds_cache` keeps the keys and values of attention, one token a call, in 8 bits.
    """

    dialect: OpsetDialect
    stored: torch.dtype = torch.float32
    compute: torch.dtype = torch.float32
    blocks: BlockFormat | None = None
    sensitive: BlockFormat | None = None
    accuracy_level: int = 4
    rounds_cache: bool = False

    def linear(
        self,
        dim_in: int,
        dim_out: int,
        *,
        bias: bool = False,
        sensitive: bool = False,
        arrange: Arrange = as_stored,
        arrange_bias: Arrange = as_stored,
    ) -> Weighted:
        blocks = self.sensitive if sensitive else self.blocks
        arranged = (bias, arrange, arrange_bias)
        if blocks is not None:
            return QuantizedLinear(dim_in, dim_out, blocks, self.accuracy_level, *arranged)
        return Linear(dim_in, dim_out, self.stored, self.compute, *arranged)
