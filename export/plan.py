"""Which graphs a checkpoint becomes for a target, and how the manifest names them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..runtime.bundle.manifest import Codec, GraphSpec, Precision, Ring, StateSpec, TensorSpec
from ..runtime.bundle.manifest import Target as TargetName
from ..runtime.errors import UsageError
from .checkpoint.checkpoint import Checkpoint
from .checkpoint.config import LMConfig, RepositoryConfig
from .checkpoint.tensors import Tensors
from .graphs.conditions import Conditions, condition_lengths, source_length
from .graphs.depth import DepthTransformer
from .graphs.graph import Sizes
from .graphs.lm import TemporalTransformer
from .graphs.mimi import MimiDecoder, MimiEncoder, MimiStep, Part
from .graphs.step_module import NEXT, Axis, Port, StepModule
from .modules.linear import Style
from .modules.opset_dialect import Arithmetic
from .modules.step import StateSpec as ModuleState
from .quantization.recipe import QuantizationRecipe
from .targets import Precisions, Target

MOST_FRAMES = 25
"""Frames a call of the codec may bring: no more were faster, and each costs the rings two slots."""

TEMPORAL = "temporal_transformer"
DEPTH = "depth_transformer"
CONDITIONS = "conditions"

DTYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.bool: "bool",
    torch.int8: "int8",
}


@dataclass(frozen=True)
class Planned:
    """One graph to be: its name, how to make its module, and where its weights come from."""

    name: str
    build: Callable[[], StepModule]
    tensors: Tensors
    sizes: Sizes
    runs_on: TargetName | None = None

    def spec(self, module: StepModule, data: str | None) -> GraphSpec:
        """What the manifest says of the graph once it is written."""
        return GraphSpec(
            file=f"{self.name}.onnx",
            data=data,
            inputs=tuple(self._port(port) for port in module.inputs()),
            active=self._port(module.active()),
            outputs=tuple(self._port(port) for port in module.outputs()),
            states=tuple(self._state(state) for state in module.states()),
            max_frames=self.sizes.most_frames,
            runs_on=self.runs_on,
        )

    def _port(self, port: Port) -> TensorSpec:
        shape = tuple(self._axis(axis) for axis in port.shape)
        return TensorSpec(port.name, DTYPES[port.dtype], shape)  # type: ignore[arg-type]

    def _state(self, state: ModuleState) -> StateSpec:
        return StateSpec(
            input=state.name,
            output=None if state.carry == "constant" else state.name + NEXT,
            dtype=DTYPES[state.dtype],  # type: ignore[arg-type]
            shape=(self._axis("batch"), *state.shape),
            initial=state.initial,
            carry=state.carry,
            ring=None if state.position is None else Ring(2, state.position),
        )

    def _axis(self, axis: Axis) -> int | str:
        factor, name = axis if isinstance(axis, tuple) else (1, axis)
        if isinstance(name, int):
            return name
        fixed: int | None = getattr(self.sizes, name)
        if fixed is not None:
            return factor * fixed
        return name if factor == 1 else f"{factor}*{name}"


def plan_codec(
    checkpoint: Checkpoint,
    target: Target,
    precision: Precision,
    codebooks: int,
    batch: int | None,
    decoder: bool,
) -> tuple[list[Planned], Codec]:
    """Mimi's graphs: encoder, and decoder if asked for, each in halves where the target splits."""
    config, style = checkpoint.mimi_config, target.codec_style(precision)
    most = config.quantizer.n_q
    if not config.quantizer.n_q_semantic <= codebooks <= most:
        raise UsageError(f"--codebooks {codebooks}: this codec has {most}")

    def plan(name: str, kind: type[MimiStep], part: Part = Part.WHOLE) -> Planned:
        convolutions = part is Part.CONVOLUTIONS
        chosen = Style(Arithmetic()) if convolutions else style
        sizes = Sizes(1, 1) if target.splits_codec else Sizes(batch, most_frames=MOST_FRAMES)
        return Planned(
            name,
            lambda: kind(config, codebooks, chosen, sizes.most_frames, part),
            checkpoint.mimi,
            sizes,
            runs_on="cpu" if target.splits_codec and not convolutions else None,
        )

    encoder, decoder_graphs = [plan("mimi_encoder", MimiEncoder)], []
    if target.splits_codec:
        encoder = [
            plan("mimi_encoder_convolutions", MimiEncoder, Part.CONVOLUTIONS),
            plan("mimi_encoder_latents", MimiEncoder, Part.LATENTS),
        ]
    if decoder:
        decoder_graphs = [plan("mimi_decoder", MimiDecoder)]
    if decoder and target.splits_codec:
        decoder_graphs = [
            plan("mimi_decoder_latents", MimiDecoder, Part.LATENTS),
            plan("mimi_decoder_convolutions", MimiDecoder, Part.CONVOLUTIONS),
        ]
    entry = Codec(
        codebooks=codebooks,
        cardinality=config.quantizer.bins,
        encoder=tuple(graph.name for graph in encoder),
        decoder=tuple(graph.name for graph in decoder_graphs),
        precision=precision,
    )
    return [*encoder, *decoder_graphs], entry


def plan_lm(
    config: RepositoryConfig,
    tensors: Tensors,
    target: Target,
    precisions: Precisions,
    batch: int | None,
    recipe: QuantizationRecipe | None = None,
) -> list[Planned]:
    """The graphs of the language model: the temporal transformer, and the depth transformer and the
    conditions of a model that has them."""
    lm, style = config.lm, target.style(precisions.model, precisions.cache, recipe)
    assert lm is not None
    lengths = condition_lengths(lm, config.tts.max_speakers)
    source = source_length(lm, lengths)
    candidates = min(lm.card, config.top_k or lm.card)
    builders: dict[str, Callable[[], StepModule]] = {
        TEMPORAL: lambda: TemporalTransformer(lm, style, source)
    }
    if lm.depformer is not None:
        builders[DEPTH] = lambda: DepthTransformer(lm, candidates, style)
    if is_conditioned(lm):
        builders[CONDITIONS] = lambda: Conditions(lm, lengths, style)
    runs_on: TargetName | None = "cpu" if target.splits_codec else None
    return [
        Planned(name, _written_by(recipe, build), tensors, Sizes(batch), runs_on)
        for name, build in builders.items()
    ]


def _written_by(
    recipe: QuantizationRecipe | None, build: Callable[[], StepModule]
) -> Callable[[], StepModule]:
    def write() -> StepModule:
        module = build()
        if recipe is not None:
            recipe.write(module)
        return module

    return write


def is_conditioned(config: LMConfig) -> bool:
    """Whether conditions reach the temporal transformer."""
    return config.fuser is not None and bool(config.fuser.sum or config.fuser.cross)
