"""Converts a checkpoint to a bundle: a template of its graphs, filled with the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..runtime.bundle.manifest import Precision
from ..runtime.cache_folder import bundles_folder
from ..runtime.errors import UsageError
from .checkpoint.checkpoint import Checkpoint, open_checkpoint
from .filling.atomic_folder import atomic_folder
from .filling.fill import Progress, fill_template
from .filling.kv_calibration import CacheEntries
from .filling.recipe import QuantizationRecipe
from .filling.shipped import shipped_template
from .filling.targets import Precisions, Target, target
from .filling.template import Design, Template, design_of

Trace = Callable[[Design, QuantizationRecipe | None, Progress], Template]
"""Makes the template of a design, by a recipe of its own if one is given."""


@dataclass(frozen=True)
class Request:
    """The options of a conversion; None leaves a choice to the target or the model.

    `decoder` includes Mimi's decoder, which speech to text does not need; `recipe` replaces the
    precision's own quantization recipe.
    """

    repo: str
    out: Path | None = None
    target: str = "cpu"
    precision: Precision | None = None
    codec_precision: Precision | None = None
    kv_cache: Precision | None = None
    batch: int | None = None
    codebooks: int | None = None
    revision: str | None = None
    lora: str | None = None
    extra_heads: str | None = None
    decoder: bool | None = None
    recipe: QuantizationRecipe | None = None
    force: bool = False


def open_request(request: Request) -> Checkpoint:
    """Open the checkpoint of a request; raises as `open_checkpoint` does."""
    return open_checkpoint(request.repo, request.revision, request.lora, request.extra_heads)


def convert_checkpoint(
    checkpoint: Checkpoint,
    request: Request,
    cache_entries: CacheEntries,
    trace: Trace,
    progress: Progress = lambda *_: None,
) -> Path:
    """Convert an open checkpoint and return the bundle's folder, which appears when it is complete.

    `cache_entries` runs the language model of the bundle, which calibrates an 8-bit KV cache;
    `trace` makes a template that does not come with the package.

    Raises:
        UsageError: options that exclude each other, or there is no template.
        ModelError: the checkpoint is not readable.
        KyutaiOnnxError: the disk does not take the bundle.
    """
    design, out = plan_conversion(checkpoint, request)
    with atomic_folder(out, force=request.force) as folder:
        shipped = shipped_template(design) if request.recipe is None else None
        template = shipped or trace(design, request.recipe, progress)
        fill_template(template, checkpoint, folder, cache_entries, progress)
    return out


def plan_conversion(checkpoint: Checkpoint, request: Request) -> tuple[Design, Path]:
    """Return the design and the folder of the bundle that a request makes.

    Raises UsageError for options that exclude each other.
    """
    chosen = target(request.target)
    precisions = _precisions(request, checkpoint, chosen)
    design = design_of(
        checkpoint,
        chosen,
        precisions,
        batch=request.batch,
        codebooks=request.codebooks,
        decoder=request.decoder,
    )
    return design, request.out or _default_folder(checkpoint, chosen, precisions)


def _precisions(request: Request, checkpoint: Checkpoint, chosen: Target) -> Precisions:
    """A codec alone has one precision, whichever of the two it is asked for by."""
    if checkpoint.lm is not None:
        precision = request.precision or chosen.default_precision
        cache = request.kv_cache or chosen.default_cache(precision)
        return Precisions(precision, request.codec_precision or "fp32", cache)
    if request.kv_cache is not None:
        raise UsageError("a codec alone has no --kv-cache: leave it out")
    asked = {p for p in (request.precision, request.codec_precision) if p is not None}
    if len(asked) > 1:
        raise UsageError("a codec alone has one precision: leave out --codec-precision")
    precision = asked.pop() if asked else "fp32"
    return Precisions(precision, precision)


def _default_folder(checkpoint: Checkpoint, chosen: Target, precisions: Precisions) -> Path:
    name = checkpoint.repository.name
    plain = Path(name).resolve().name if Path(name).exists() else name.replace("/", "--")
    label: str = precisions.model
    if checkpoint.lm is not None and precisions.codec != "fp32":
        label += f"-codec-{precisions.codec}"
    if precisions.cache != "fp32":
        label += f"-kv-{precisions.cache}"
    return bundles_folder() / f"{plain}--{label}-{chosen.name}"
