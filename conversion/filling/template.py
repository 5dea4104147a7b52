"""A template: the graphs of a bundle as they will be, without the weights of a checkpoint.

What the graphs hold is the same for all checkpoints of a design. Only the data files differ, in
which every tensor has its place and its formula.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...runtime.bundle.dataclass_json import dump, parse
from ...runtime.bundle.manifest import GraphSpec, Quantization
from ...runtime.bundle.manifest import Target as TargetName
from ...runtime.errors import UsageError
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.config import LMConfig, LutConditioner, MimiConfig, TransformerConfig
from ..checkpoint.tensor_views import Shape, Tensors
from .formula import Formula, dump_formula, parse_formula
from .targets import Precisions, Target

TensorSet = Literal["mimi", "lm"]
"""The tensors that a graph is made from: the codec's or the language model's."""
CANDIDATES = 250
"""Likeliest codes that a graph samples among (moshi LMGen's `top_k`): a smaller top-k needs no
other graph."""


@dataclass(frozen=True)
class Design:
    """All that a template depends on: the canonical configuration, the target and the precisions.

    Settings that reach no graph have one value. `candidates` is how many of the likeliest codes
    a graph samples among. `halves` names the parts whose tensors are all float16: their weights are
    stored in 16 bits where a graph keeps them in float32, and nothing but moves them.
    """

    target: TargetName
    precisions: Precisions
    mimi: MimiConfig
    codebooks: int
    decoder: bool
    lm: LMConfig | None
    max_speakers: int
    candidates: int
    batch: int | None
    halves: tuple[TensorSet, ...]

    @property
    def key(self) -> str:
        """A hash of the whole."""
        text = json.dumps(dump(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def design_of(
    checkpoint: Checkpoint,
    target: Target,
    precisions: Precisions,
    *,
    batch: int | None = None,
    codebooks: int | None = None,
    decoder: bool | None = None,
) -> Design:
    """The design of a bundle; None leaves a choice to the model.

    Raises:
        UsageError: a number of codebooks that the codec does not have or the model needs more of,
            or a precision that the target does not take.
    """
    config, mimi = checkpoint.config, checkpoint.mimi_config
    target.check(precisions)
    codebooks = codebooks or config.mimi_codebooks
    if config.lm is not None and codebooks < config.mimi_codebooks:
        raise UsageError(
            f"--codebooks {codebooks}: this model needs {config.mimi_codebooks} of the codec's"
        )
    if not mimi.quantizer.n_q_semantic <= codebooks <= mimi.quantizer.n_q:
        raise UsageError(f"--codebooks {codebooks}: this codec has {mimi.quantizer.n_q}")
    if decoder is None:
        decoder = config.lm is None or config.lm.dep_q > 0
    lm = config.lm
    parts: dict[TensorSet, Tensors | None] = {"mimi": checkpoint.mimi, "lm": checkpoint.lm}
    return Design(
        target=target.name,
        precisions=precisions,
        mimi=replace(mimi, transformer=_of_layers(mimi.transformer)),
        codebooks=codebooks,
        decoder=decoder,
        lm=None if lm is None else _of_graphs(lm),
        max_speakers=0 if lm is None else config.tts.max_speakers,
        candidates=0 if lm is None else _candidates(lm, config.top_k),
        batch=batch,
        halves=tuple(part for part, tensors in parts.items() if _is_half(tensors)),
    )


def _candidates(lm: LMConfig, top_k: int) -> int:
    """How many codes a graph samples among: all if the top-k is none or more than usual."""
    usual = lm.depformer is None or 0 < top_k <= CANDIDATES
    return min(lm.card, CANDIDATES) if usual else lm.card


def _of_graphs(config: LMConfig) -> LMConfig:
    """The configuration without what reaches no graph."""
    conditioners = {
        name: replace(given, possible_values=None) if isinstance(given, LutConditioner) else given
        for name, given in config.conditioners.items()
        if config.is_conditioned
    }
    depth = config.depformer
    if depth is not None:
        own = depth.schedule == tuple(range(depth.codebooks))
        schedule = None if own else depth.schedule
        depth = replace(depth, transformer=_of_layers(depth.transformer), schedule=schedule)
    return replace(
        config,
        delays=(0,) * (1 + config.n_q),
        existing_text_padding_id=0,
        existing_text_end_padding_id=0,
        extra_heads_dim=config.extra_heads_dim if config.extra_heads_num_heads else 0,
        transformer=_of_layers(config.transformer),
        depformer=depth,
        conditioners=conditioners,
        fuser=config.fuser if config.is_conditioned else None,
        quantize=False,
        lora=False,
        lora_scaling=0.0,
    )


def _of_layers(config: TransformerConfig) -> TransformerConfig:
    """The same of a transformer: without positions, a period has no effect."""
    period = 10_000.0 if config.positional_embedding == "none" else config.max_period
    return replace(
        config, max_period=period, layer_scale=None if config.layer_scale is None else 1.0
    )


def _is_half(tensors: Tensors | None) -> bool:
    """Whether all tensors of a part are stored in float16."""
    return tensors is not None and {"F16"} == set(map(tensors.dtype, tensors.shapes()))


@dataclass(frozen=True)
class TemplateTensor:
    """A tensor of a data file: its place, and the formula of its values."""

    name: str
    dtype: str
    shape: Shape
    offset: int
    formula: Formula

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class GraphTemplate:
    """A graph: the content of its ONNX file, and the tensors of its data file in their order."""

    weights: TensorSet
    spec: GraphSpec
    model: bytes
    tensors: tuple[TemplateTensor, ...]

    @property
    def bytes(self) -> int:
        """The size of the data file."""
        return self.tensors[-1].offset + self.tensors[-1].bytes if self.tensors else 0


@dataclass(frozen=True)
class Template:
    """The graphs of a bundle by name. `decoder` is empty if it is left out."""

    target: TargetName
    precisions: Precisions
    codebooks: int
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    graphs: dict[str, GraphTemplate]
    quantization: Quantization | None = None


def dump_template(template: Template) -> dict[str, Any]:
    """The template as JSON, without its graphs."""
    described: dict[str, Any] = dump(replace(template, graphs={}))
    return described


def dump_graph(graph: GraphTemplate) -> dict[str, Any]:
    """A graph as JSON, without the content of its ONNX file.

    Raises ValueError for a recipe that packs in its own way.
    """
    tensors = [
        [t.name, t.dtype, list(t.shape), t.offset, dump_formula(t.formula)] for t in graph.tensors
    ]
    return {"weights": graph.weights, "spec": dump(graph.spec), "tensors": tensors}


def parse_graph(value: dict[str, Any], model: bytes) -> GraphTemplate:
    """The graph that `dump_graph` wrote, and its ONNX file."""
    tensors = tuple(
        TemplateTensor(name, dtype, tuple(shape), offset, parse_formula(formula))
        for name, dtype, shape, offset, formula in value["tensors"]
    )
    return GraphTemplate(value["weights"], parse(GraphSpec, value["spec"]), model, tensors)
