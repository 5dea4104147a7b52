"""PersonaPlex: a Moshi whose depth transformer also models its partner, and that takes a prompt.

The layout is that of NVIDIA/personaplex moshi/models/loaders.py. The partner's codes are always
given, and their steps of the depth transformer come after the model's own: without them the model
makes the same.
"""

import re
from dataclasses import replace

from ...runtime.bundle.manifest import PromptSettings
from .config import LMConfig
from .tensor_views import Renamed, Tensors, renamed

PROMPT = PromptSettings(
    silence=(948, 243, 1178, 546, 1736, 1030, 1978, 2008),
    partner=(430, 1268, 381, 1611, 1095, 1495, 56, 472),
    pause_frames=6,
    role_mark="<system>",
    loudness=-24.0,
)
"""The codes are those of Kyutai's Mimi for silence, and for a sine of 440 Hz (models/lm.py)."""
CODEBOOKS = len(PROMPT.silence)

STEP = re.compile(r"linears\.(\d+)\.weight$")
OF_STEP = re.compile(
    r"(?:linears|depformer_in|depformer_emb|depformer_norms|depformer\..*\.(?:in_projs|out_projs|"
    r"gating))\.(\d+)\."
)


def models_partner(tensors: Tensors, config: LMConfig) -> bool:
    """Whether the depth transformer of a checkpoint has a step for every codebook of both sides,
    which are alike."""
    own, partner = config.delays[1 : 1 + CODEBOOKS], config.delays[1 + CODEBOOKS :]
    steps = sum(STEP.match(name) is not None for name in tensors.shapes())
    return steps == config.n_q == 2 * CODEBOOKS and own == partner


def with_partner(config: LMConfig) -> LMConfig:
    """The configuration with a step of the depth transformer for each codebook of both sides."""
    assert config.depformer is not None
    depth = replace(config.depformer, codebooks=config.n_q)
    return replace(config, dep_q=config.n_q, depformer=depth)


def without_partner(tensors: Tensors, config: LMConfig) -> tuple[Renamed, LMConfig]:
    """The canonical tensors of the model's own side, and their configuration."""
    depth = config.depformer
    assert depth is not None
    widths = depth.transformer.dim_feedforward
    if not isinstance(widths, int):
        inner = replace(depth.transformer, dim_feedforward=widths[:CODEBOOKS])
        depth = replace(depth, transformer=inner)
    own = replace(config, dep_q=CODEBOOKS, depformer=replace(depth, codebooks=CODEBOOKS))
    return renamed(tensors, lambda name: None if _is_partner(name) else name), own


def _is_partner(name: str) -> bool:
    """Whether a canonical tensor is of a step of the partner's. An embedding is of the codebook
    before: the last of the model's own is read by a step of the partner's alone."""
    step = OF_STEP.match(name)
    last = CODEBOOKS - name.startswith("depformer_emb.")
    return step is not None and int(step[1]) >= last
