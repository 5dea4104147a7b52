"""`verify`: a bundle beside Kyutai's own package."""

from pathlib import Path
from typing import Annotated

from ...runtime.errors import QualityError, UsageError
from .. import options
from ..messages import progress_bar
from ..options import INPUT, option

app = options.new_app()


@app.command()
@options.with_groups
def verify(
    *,
    model: options.NamedModel,
    checkpoint: options.CheckpointOptions,
    audio: Annotated[
        Path | None,
        option("--audio", panel=INPUT, help="Speech to compare on. Default: a synthetic voice."),
    ] = None,
    frames: Annotated[int, option("--frames", min=1, panel=INPUT, help="Frames to compare.")] = 300,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    general: options.General,
) -> None:
    """Compare a bundle with Kyutai's own package.

    Runs the bundle and the moshi package side by side and reports how far they agree.
    """
    try:
        from ...conversion.checkpoint.checkpoint import open_checkpoint
        from ...export.verification.verify import synthetic_voice, verify_bundle
    except ImportError as error:
        raise UsageError(
            f"verifying needs more packages ({error.name} is missing); run "
            '\'pip install "kyutai-onnx[cpu,export]" einops && pip install --no-deps '
            "moshi==0.2.13'"
        ) from None
    from ..load import open_model, read_whole

    repo = checkpoint.repo
    bundle = open_model(model, general.quiet)
    opened = open_checkpoint(repo, checkpoint.revision, checkpoint.lora, checkpoint.extra_heads)
    rate, samples = bundle.manifest.audio.sample_rate, frames * bundle.manifest.audio.frame_size
    pcm = synthetic_voice(rate, samples) if audio is None else read_whole(audio, rate)[:samples]
    with progress_bar(quiet=general.quiet) as progress:
        report = verify_bundle(
            bundle,
            opened,
            pcm,
            provider=provider,
            allow_fallback=allow_fallback,
            progress=lambda done, total: progress("comparing", done, total),
        )
    print("\n".join(report.lines()))
    manifest = bundle.manifest
    failures = list(report.failures(manifest.precision, manifest.codec.precision))
    if failures:
        raise QualityError(f"{bundle.path} is not what {repo} computes: {'; '.join(failures)}")
