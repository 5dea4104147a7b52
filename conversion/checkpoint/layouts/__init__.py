"""Every published layout of a checkpoint, brought to one.

The canonical names are those of Kyutai's PyTorch modules after their load hooks: attention weights
are `in_projs.{set}.weight` and `out_projs.{set}.weight`, alphas of norms are flat, codebooks hold
`embedding_sum`, `cluster_usage` and `_initialized`. All views are lazy, and quantised weights are
multiplied out when they are read.
"""

from .detect import canonical_lm, canonical_mimi, with_widths
from .quantized import is_quantized
from .shapes import lm_shapes, mimi_shapes

__all__ = [
    "canonical_lm",
    "canonical_mimi",
    "is_quantized",
    "lm_shapes",
    "mimi_shapes",
    "with_widths",
]
