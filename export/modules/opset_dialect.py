"""The operators that differ between flavours; everything else is written once.

`Native` is opset 24 with the operators made for stateful transformers. `Portable` is opset 18 and
keeps to what DirectML and WebGPU also run: elementwise selection instead of `Native`'s scatter, and
`Scattering`, for CUDA.
`Arithmetic` is for convolution stacks alone, on CoreML, which has no selection at all.
"""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class OpsetDialect(Protocol):
    opset: int
    folds_casts: bool
    """Whether a weight may be stored in another type than it is read in, beside a Cast."""
    active_dtype: torch.dtype
    active_axes: int
    """The mask of active rows: its type, and the axes of 1 that follow `[batch]`."""

    def hold(self, active: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """`new` in active rows, `old` in held ones, of a state `[B, ...]`."""

    def modulo(self, x: Tensor, divisor: int) -> Tensor:
        """The least non-negative remainder of integers."""

    def cos_sin(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of angles from 0 on, as large as the longest stream makes them."""

    def write_ring(self, ring: Tensor, new: Tensor, offset: Tensor) -> Tensor:
        """`ring [B, H, C, D]` with `new [B, H, T, D]` at slots `(offset[b] + t) % C`."""

    def alpha_scale(self, width: int) -> float:
        """What the `alpha` of a norm of that width is multiplied by when it is stored."""

    def rms_norm(self, x: Tensor, alpha: Tensor, eps: float) -> Tensor:
        """`x [B, T, D]` divided by its root mean square, times the `alpha [D]` of the checkpoint,
        which comes as it is stored."""

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
        """Rotates each head of `x [B, T, heads * D]` by `cos, sin [B, T, D / 2]`, in halves."""


class Selection:
    """Active rows are a mask of booleans, which selects."""

    active_dtype = torch.bool
    active_axes = 0

    def __repr__(self) -> str:
        return type(self).__name__

    def hold(self, active: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return torch.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)


class Native(Selection):
    opset = 24
    folds_casts = True

    def cos_sin(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cos(angle), torch.sin(angle)

    def modulo(self, x: Tensor, divisor: int) -> Tensor:
        return x % divisor

    def write_ring(self, ring: Tensor, new: Tensor, offset: Tensor) -> Tensor:
        written: Tensor = torch.onnx.ops.symbolic(
            "TensorScatter",
            (ring, new, self.modulo(offset, ring.shape[2])),
            {"axis": 2, "mode": "circular"},
            dtype=ring.dtype,
            shape=ring.shape,
            version=24,
        )
        return written

    def alpha_scale(self, width: int) -> float:  # noqa: ARG002
        return 1.0

    def rms_norm(self, x: Tensor, alpha: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), alpha, eps)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
        return torch.onnx.ops.rotary_embedding(x, cos, sin, None, num_heads=heads)


QUARTER_TURN = (1.5, 9 / 2**7, 15 / 2**15, 13 / 2**19, 10 / 2**23, 7.5497899549e-08)
"""A quarter of a turn in parts of at most four bits; only the last is rounded."""
SINE = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
COSINE = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """`c0 + c1 x + c2 x^2 ...`, from the last on."""
    *rest, last = coefficients
    value = x * last + rest.pop()
    while rest:
        value = value * x + rest.pop()
    return value


class Portable(Selection):
    opset = 18
    folds_casts = False

    def modulo(self, x: Tensor, divisor: int) -> Tensor:
        """Neither provider divides integers; in float32 this is exact up to 2 ** 24 frames."""
        value = x.float()
        return (value - torch.floor(value / divisor) * divisor).to(x.dtype)

    def cos_sin(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Graphics processors promise a cosine good to 2 ** -11, near 0. This one is good to 2e-7
        up to a million: quarter turns are taken off in parts of so few bits that each step is
        exact, the rest goes into Cephes' polynomials."""
        turns = torch.floor(angle * (2 / math.pi) + 0.5)
        for part in QUARTER_TURN:
            angle = angle - turns * part
        square = angle * angle
        sine = angle + angle * square * _polynomial(square, SINE)
        cosine = 1 - 0.5 * square + square * square * _polynomial(square, COSINE)
        quadrant = turns - torch.floor(turns / 4) * 4
        odd = quadrant - torch.floor(quadrant / 2) * 2 > 0.5
        cos = torch.where(odd, sine, cosine)
        sin = torch.where(odd, cosine, sine)
        return (
            torch.where((quadrant - 1.5).abs() < 1, -cos, cos),
            torch.where(quadrant > 1.5, -sin, sin),
        )

    def write_ring(self, ring: Tensor, new: Tensor, offset: Tensor) -> Tensor:
        capacity, length = ring.shape[2], new.shape[2]
        slots = torch.arange(capacity)
        index = self.modulo(slots - offset[:, None], capacity)  # [B, C]: the new entry of a slot
        chosen = index[:, :, None] == torch.arange(length)  # [B, C, T]
        spread = chosen[:, None].to(new.dtype) @ new  # one entry each, so the sum is exact
        return torch.where((index < length)[:, None, :, None], spread, ring)

    def alpha_scale(self, width: int) -> float:
        return math.sqrt(width)

    def rms_norm(self, x: Tensor, alpha: Tensor, eps: float) -> Tensor:
        """Of sums, not means: the optimiser takes an addition of up to 1e-8 for one of nothing,
        and a frame without a token is then 0 / 0."""
        width = x.shape[-1]
        squares = width * eps + (x * x).sum(dim=-1, keepdim=True)
        return x * (alpha * torch.rsqrt(squares))

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
        batch, length, width = x.shape
        split = x.reshape(batch, length, heads, 2, width // heads // 2)
        real, imaginary = split[..., 0, :], split[..., 1, :]
        cos, sin = cos[:, :, None], sin[:, :, None]
        turned = [real * cos - imaginary * sin, real * sin + imaginary * cos]
        return torch.stack(turned, dim=3).reshape(batch, length, width)


class Scattering(Portable):
    """For CUDA, which scatters at opset 18: a step writes its own entry of a ring, and not all."""

    def write_ring(self, ring: Tensor, new: Tensor, offset: Tensor) -> Tensor:
        slots = self.modulo(offset[:, None] + torch.arange(new.shape[2]), ring.shape[2])
        wide = torch.zeros(1, ring.shape[1], 1, ring.shape[3], dtype=torch.int64)  # asks no shape
        return ring.scatter(2, slots[:, None, :, None] + wide, new)


class Arithmetic(Portable):
    """Active rows are a mask of 1.0 and 0.0 from the host; products and a sum are exact then."""

    active_dtype = torch.float32
    active_axes = 2

    def hold(self, active: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return new * active + old * (1 - active)
