"""`verify`: a bundle beside Kyutai's own package."""

from pathlib import Path
from typing import Annotated

import typer

from ...runtime.errors import QualityError, UsageError
from .. import options
from ..messages import progress_bar


def verify(
    model: Annotated[str, typer.Argument(help="Bundle folder, exported repository or hf://...")],
    repo: Annotated[
        str, typer.Option("--repo", metavar="REPO", help="The checkpoint it was made from.")
    ],
    audio: Annotated[
        Path | None, typer.Option(help="Speech to compare on; default: a made-up voice.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames to compare.")] = 300,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    lora: Annotated[str | None, typer.Option(help="The LoRA adapter that was merged.")] = None,
    extra_heads: Annotated[
        str | None, typer.Option(help="The repository that the heads were taken from.")
    ] = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Run a bundle and the moshi package side by side and report how far they agree."""
    try:
        from ...export.checkpoint.checkpoint import open_checkpoint
        from ...export.verification.verify import made_up_voice, verify_bundle
    except ImportError as error:
        raise UsageError(
            f"verifying needs more packages ({error.name} is missing); run "
            '\'pip install "kyutai-onnx[cpu,export]" einops && pip install --no-deps '
            "moshi==0.2.13'"
        ) from None
    from ..load import open_model, read_whole

    bundle = open_model(model, quiet)
    checkpoint = open_checkpoint(repo, revision, lora, extra_heads)
    rate, samples = bundle.manifest.audio.sample_rate, frames * bundle.manifest.audio.frame_size
    pcm = made_up_voice(rate, samples) if audio is None else read_whole(audio, rate)[:samples]
    with progress_bar(quiet=quiet) as progress:
        report = verify_bundle(
            bundle,
            checkpoint,
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
