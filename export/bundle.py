"""Exports a checkpoint to a bundle, with a template that is traced if none comes along."""

from pathlib import Path

from ..conversion.checkpoint.checkpoint import Checkpoint
from ..conversion.convert import Request, convert_checkpoint, open_request
from ..conversion.filling.fill import Progress
from ..conversion.filling.recipe import QuantizationRecipe
from ..conversion.filling.template import Design, Template
from ..models.calibration_run import cache_entries
from ..runtime.errors import UsageError


def export_bundle(request: Request, progress: Progress = lambda *_: None) -> Path:
    """Export a checkpoint and return the bundle's folder, which appears when it is complete.

    Raises:
        UsageError: options that exclude each other, or packages are missing that trace a template.
        ModelError: the checkpoint is not available or not readable.
        KyutaiOnnxError: the disk does not take the bundle.
    """
    return export_checkpoint(open_request(request), request, progress)


def export_checkpoint(
    checkpoint: Checkpoint, request: Request, progress: Progress = lambda *_: None
) -> Path:
    """Export a checkpoint that is open already; as `export_bundle`."""
    return convert_checkpoint(checkpoint, request, cache_entries, _trace, progress)


def _trace(design: Design, recipe: QuantizationRecipe | None, progress: Progress) -> Template:
    try:
        from .plan import make_template
    except ImportError as error:
        raise UsageError(
            "no template of this configuration, target and precision comes with the package, and "
            f"tracing one needs more packages ({error.name} is missing); run "
            "'pip install \"kyutai-onnx[cpu,export]\"'"
        ) from None
    return make_template(design, recipe, progress)
