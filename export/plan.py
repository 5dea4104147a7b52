"""Which graphs a bundle consists of, and its template."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..conversion.filling.fill import Progress
from ..conversion.filling.formula import quantized, quantized_by
from ..conversion.filling.manifest import CONDITIONS, DEPTH, TEMPORAL
from ..conversion.filling.recipe import QuantizationRecipe, pack_alike
from ..conversion.filling.targets import TARGETS
from ..conversion.filling.template import Design, GraphTemplate, Template
from ..runtime.bundle.manifest import Quantization
from ..runtime.bundle.manifest import Target as TargetName
from .graphs.conditions import Conditions
from .graphs.depth import DepthTransformer
from .graphs.graph_template import GraphPlan, graph_template
from .graphs.lm import TemporalTransformer
from .graphs.mimi import MimiDecoder, MimiEncoder, MimiStep, Part
from .graphs.step_module import StepModule
from .graphs.trace import Sizes
from .modules.linear import QuantizedLinear, Style
from .modules.opset_dialect import Arithmetic
from .styles import codec_style, lm_style

MOST_FRAMES = 25
"""Frames a call of the codec may bring: no more were faster, and each costs the rings two slots."""


@dataclass(frozen=True)
class BundlePlan:
    """The graphs of a bundle. `lm` is empty for a codec alone, `decoder` if it is left out."""

    encoder: list[GraphPlan]
    decoder: list[GraphPlan]
    lm: list[GraphPlan]

    @property
    def graphs(self) -> list[GraphPlan]:
        return [*self.encoder, *self.decoder, *self.lm]


def make_template(
    design: Design,
    recipe: QuantizationRecipe | None = None,
    progress: Progress = lambda *_: None,
    trace: Callable[[GraphPlan], GraphTemplate] | None = None,
) -> Template:
    """Trace the graphs of a bundle; raises UsageError if the precision takes no recipe.

    `trace` may return what was traced before: the graphs of a codec are the same in many designs.
    """
    plan = plan_bundle(design, recipe)
    graphs = {}
    for graph in plan.graphs:
        progress(graph.name, 0, 0)
        graphs[graph.name] = (trace or graph_template)(graph)
    return Template(
        target=design.target,
        precisions=design.precisions,
        quantization=_quantization(design, recipe),
        codebooks=design.codebooks,
        encoder=tuple(graph.name for graph in plan.encoder),
        decoder=tuple(graph.name for graph in plan.decoder),
        graphs=graphs,
    )


def _quantization(design: Design, recipe: QuantizationRecipe | None) -> Quantization | None:
    """Of the language model's weights; None if they are not in blocks."""
    if design.lm is None:
        return None
    style = lm_style(TARGETS[design.target], design.precisions, recipe)
    if style.blocks is None or style.sensitive is None:
        return None
    return Quantization(
        bits=style.blocks.bits,
        block_size=style.blocks.size,
        symmetric=style.blocks.symmetric,
        head_bits=style.sensitive.bits,
        head_symmetric=style.sensitive.symmetric,
        head_block_size=style.sensitive.size,
    )


def plan_bundle(design: Design, recipe: QuantizationRecipe | None = None) -> BundlePlan:
    """Plan the graphs of a bundle; raises UsageError if the precision takes no recipe."""
    lm = [] if design.lm is None else _plan_lm(design, recipe)
    encoder, decoder = _plan_codec(design)
    return BundlePlan(encoder, decoder if design.decoder else [], lm)


def _plan_codec(design: Design) -> tuple[list[GraphPlan], list[GraphPlan]]:
    """Mimi's encoder and its decoder, each in two graphs if the target splits the codec."""
    config, target = design.mimi, TARGETS[design.target]
    style = codec_style(target, design.precisions.codec)

    def plan(name: str, kind: type[MimiStep], part: Part = Part.WHOLE) -> GraphPlan:
        convolutions = part is Part.CONVOLUTIONS
        chosen = Style(Arithmetic()) if convolutions else style
        sizes = Sizes(1, 1) if target.splits_codec else Sizes(design.batch, most_frames=MOST_FRAMES)
        return GraphPlan(
            name,
            partial(kind, config, design.codebooks, chosen, sizes.most_frames, part),
            "mimi",
            sizes,
            halves="mimi" in design.halves,
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


def _plan_lm(design: Design, recipe: QuantizationRecipe | None) -> list[GraphPlan]:
    """The graphs of the language model: the temporal transformer, and the depth transformer and the
    conditions of a model that has them."""
    lm, target, speakers = design.lm, TARGETS[design.target], design.max_speakers
    assert lm is not None
    style = lm_style(target, design.precisions, recipe)
    source = lm.source_length(speakers)
    builders: dict[str, Callable[[], StepModule]] = {
        TEMPORAL: partial(TemporalTransformer, lm, style, source)
    }
    if lm.depformer is not None:
        builders[DEPTH] = partial(DepthTransformer, lm, design.candidates, style)
    if lm.is_conditioned:
        builders[CONDITIONS] = partial(Conditions, lm, speakers, style)
    runs_on: TargetName | None = "cpu" if target.splits_codec else None
    halves = "lm" in design.halves
    return [
        GraphPlan(
            name,
            build if recipe is None else partial(write_by_recipe, recipe, build),
            "lm",
            Sizes(design.batch),
            halves,
            runs_on,
        )
        for name, build in builders.items()
    ]


def write_by_recipe(recipe: QuantizationRecipe, build: Callable[[], StepModule]) -> StepModule:
    """Make a module whose quantized layers are written by a recipe."""
    module = build()
    apply_recipe(recipe, module)
    return module


def apply_recipe(recipe: QuantizationRecipe, module: StepModule) -> None:
    """Has the layers of a module that are quantized written by a recipe."""
    for path, layer in module.named_modules():
        if isinstance(layer, QuantizedLinear):
            own = recipe.pack is not pack_alike
            quantize = partial(quantized_by, recipe.pack, path) if own else quantized
            layer.write_as(recipe.kept(path) or layer.blocks, quantize)
