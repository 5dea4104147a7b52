"""Which graphs a checkpoint becomes for a target."""

from collections.abc import Callable
from dataclasses import dataclass

from ..runtime.bundle.manifest import Precision
from ..runtime.bundle.manifest import Target as TargetName
from ..runtime.errors import UsageError
from .checkpoint.checkpoint import Checkpoint
from .checkpoint.config import LMConfig, RepositoryConfig
from .checkpoint.tensor_views import Tensors
from .graphs.conditions import Conditions, condition_lengths, source_length
from .graphs.depth import DepthTransformer
from .graphs.lm import TemporalTransformer
from .graphs.mimi import MimiDecoder, MimiEncoder, MimiStep, Part
from .graphs.step_module import StepModule
from .graphs.trace import Sizes
from .modules.linear import Style
from .modules.opset_dialect import Arithmetic
from .quantization.recipe import QuantizationRecipe
from .targets import Precisions, Target

MOST_FRAMES = 25
"""Frames a call of the codec may bring: no more were faster, and each costs the rings two slots."""

TEMPORAL = "temporal_transformer"
DEPTH = "depth_transformer"
CONDITIONS = "conditions"


@dataclass(frozen=True)
class GraphPlan:
    """A graph to be written: its name, how its module is made, and where its weights are."""

    name: str
    build: Callable[[], StepModule]
    tensors: Tensors
    sizes: Sizes
    runs_on: TargetName | None = None


@dataclass(frozen=True)
class BundlePlan:
    """The graphs of a bundle. `lm` is empty for a codec alone, `decoder` if it is left out."""

    codebooks: int
    encoder: list[GraphPlan]
    decoder: list[GraphPlan]
    lm: list[GraphPlan]

    @property
    def graphs(self) -> list[GraphPlan]:
        return [*self.encoder, *self.decoder, *self.lm]


def plan_bundle(
    checkpoint: Checkpoint,
    target: Target,
    precisions: Precisions,
    *,
    batch: int | None = None,
    codebooks: int | None = None,
    decoder: bool | None = None,
    recipe: QuantizationRecipe | None = None,
) -> BundlePlan:
    """Plan the graphs of a checkpoint; None leaves a choice to the model.

    Raises:
        UsageError: a number of codebooks that the codec does not have or the model needs more of,
            or a precision that the target does not take.
    """
    config, tensors = checkpoint.config, checkpoint.lm
    codebooks = codebooks or config.mimi_codebooks
    if config.lm is not None and codebooks < config.mimi_codebooks:
        raise UsageError(
            f"--codebooks {codebooks}: this model needs {config.mimi_codebooks} of the codec's"
        )
    if decoder is None:
        decoder = config.lm is None or config.lm.dep_q > 0
    encoder_graphs, decoder_graphs = _plan_codec(
        checkpoint, target, precisions.codec, codebooks, batch
    )
    lm = [] if tensors is None else plan_lm(config, tensors, target, precisions, batch, recipe)
    return BundlePlan(codebooks, encoder_graphs, decoder_graphs if decoder else [], lm)


def _plan_codec(
    checkpoint: Checkpoint, target: Target, precision: Precision, codebooks: int, batch: int | None
) -> tuple[list[GraphPlan], list[GraphPlan]]:
    """Mimi's encoder and its decoder, each in two graphs if the target splits the codec."""
    config, style = checkpoint.mimi_config, target.codec_style(precision)
    most = config.quantizer.n_q
    if not config.quantizer.n_q_semantic <= codebooks <= most:
        raise UsageError(f"--codebooks {codebooks}: this codec has {most}")

    def plan(name: str, kind: type[MimiStep], part: Part = Part.WHOLE) -> GraphPlan:
        convolutions = part is Part.CONVOLUTIONS
        chosen = Style(Arithmetic()) if convolutions else style
        sizes = Sizes(1, 1) if target.splits_codec else Sizes(batch, most_frames=MOST_FRAMES)
        return GraphPlan(
            name,
            lambda: kind(config, codebooks, chosen, sizes.most_frames, part),
            checkpoint.mimi,
            sizes,
            runs_on="cpu" if target.splits_codec and not convolutions else None,
        )

    if not target.splits_codec:
        return [plan("mimi_encoder", MimiEncoder)], [plan("mimi_decoder", MimiDecoder)]
    encoder = [
        plan("mimi_encoder_convolutions", MimiEncoder, Part.CONVOLUTIONS),
        plan("mimi_encoder_latents", MimiEncoder, Part.LATENTS),
    ]
    decoder = [
        plan("mimi_decoder_latents", MimiDecoder, Part.LATENTS),
        plan("mimi_decoder_convolutions", MimiDecoder, Part.CONVOLUTIONS),
    ]
    return encoder, decoder


def plan_lm(
    config: RepositoryConfig,
    tensors: Tensors,
    target: Target,
    precisions: Precisions,
    batch: int | None,
    recipe: QuantizationRecipe | None = None,
) -> list[GraphPlan]:
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
        GraphPlan(name, _written_by(recipe, build), tensors, Sizes(batch), runs_on)
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
