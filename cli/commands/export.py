"""`export`: a checkpoint becomes a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ...models.families import FAMILIES, Task
from ...runtime.errors import ProviderError, QualityError, UsageError
from .. import options
from ..files import declare_folder
from ..messages import print_note, progress_bar
from ..option_values import CodecPrecision, Precision, Target
from ..options import HARDWARE, MODEL, OUTPUT, option

if TYPE_CHECKING:
    from ...conversion.checkpoint.checkpoint import Checkpoint
    from ...runtime.audio import Pcm

QUALITY = "Quality gate"
app = options.new_app()


@app.command()
@options.with_groups
def export(
    *,
    checkpoint: options.CheckpointOptions,
    out: Annotated[
        Path | None,
        option("--out", "-o", panel=OUTPUT, help="Folder of the bundle. Default: in the cache."),
    ] = None,
    force: Annotated[
        bool, option("--force", panel=OUTPUT, help="Replace an existing folder.")
    ] = False,
    precision: Annotated[
        Precision | None,
        option(
            "--precision",
            panel=MODEL,
            help="Precision of the language model. Default: int8 for CPU, fp16 for other targets.",
        ),
    ] = None,
    codec_precision: Annotated[
        CodecPrecision | None,
        option(
            "--codec-precision",
            panel=MODEL,
            help="Precision of the Mimi codec. int8 is faster but changes about 1 in 6 codes.",
        ),
    ] = None,
    kv_cache: Annotated[
        CodecPrecision | None,
        option(
            "--kv-cache",
            panel=MODEL,
            help="Precision of the KV cache. int8 (default with int4 on the CPU) needs a quarter "
            "of the memory and half the time to read.",
        ),
    ] = None,
    codebooks: Annotated[
        int | None,
        option("--codebooks", min=1, panel=MODEL, help="Codebooks of the codec to keep."),
    ] = None,
    decoder: Annotated[
        bool | None,
        option(
            "--decoder/--no-decoder",
            panel=MODEL,
            help="Include the decoder of Mimi. Default: yes, but not for speech to text.",
        ),
    ] = None,
    target: Annotated[
        Target, option("--target", panel=HARDWARE, help="Provider that the bundle is for.")
    ] = Target.CPU,
    batch: Annotated[
        int | None,
        option("--batch", min=1, panel=HARDWARE, help="Fixed batch, if the provider needs one."),
    ] = None,
    gate: Annotated[
        bool,
        option(
            "--gate/--no-gate",
            panel=QUALITY,
            help="Check that a speech-to-text bundle transcribes as its checkpoint does in fp32; "
            "exit with 6 if not.",
        ),
    ] = True,
    gate_audio: Annotated[
        list[Path] | None,
        option(
            "--gate-audio",
            metavar="FILE",
            panel=QUALITY,
            help="Recording to check on; may be repeated. Default: the samples of the demo.",
        ),
    ] = None,
    general: options.General,
) -> None:
    """Export a checkpoint to a bundle that runs without torch.

    Prints the folder of the bundle.
    """
    from ...conversion.convert import Request, open_request
    from ...export.bundle import export_checkpoint

    request = Request(
        repo=checkpoint.repo,
        out=out,
        target=target.value,
        precision=None if precision is None else precision.value,
        codec_precision=None if codec_precision is None else codec_precision.value,
        kv_cache=None if kv_cache is None else kv_cache.value,
        batch=batch,
        codebooks=codebooks,
        revision=checkpoint.revision,
        lora=checkpoint.lora,
        extra_heads=checkpoint.extra_heads,
        decoder=decoder,
        force=force,
    )
    reads = [checkpoint.repo, checkpoint.lora, checkpoint.extra_heads, *(gate_audio or ())]
    declare_folder(out, reads=reads)
    opened = open_request(request)
    recordings = read_recordings(opened, gate_audio) if gate_audio else []
    with progress_bar(quiet=general.quiet) as progress:
        folder = export_checkpoint(opened, request, progress)
    print_note(f"try it: kyutai-onnx info {folder}", quiet=general.quiet)
    print(folder)
    if gate:
        check_quality(folder, opened, recordings, quiet=general.quiet)


def read_recordings(checkpoint: "Checkpoint", files: Sequence[Path]) -> "list[Pcm]":
    """Read recordings at the rate of the codec.

    Raises AudioError for an unreadable file, UsageError for a model that does not transcribe.
    """
    from ..load import read_whole

    if FAMILIES[checkpoint.family].task is not Task.SPEECH_TO_TEXT:
        raise UsageError(
            f"--gate-audio is for speech to text, not for the family {checkpoint.family}; leave it "
            "out"
        )
    rate = checkpoint.mimi_config.sample_rate
    return [read_whole(file, rate) for file in files]


def check_quality(
    folder: Path, checkpoint: "Checkpoint", recordings: "Sequence[Pcm]", *, quiet: bool
) -> None:
    """Check a speech-to-text bundle of lower precision than fp32 on recordings.

    Without recordings, those of the demo are used. What cannot be checked is noted. Raises
    QualityError if the bundle does not transcribe what its checkpoint transcribes; the bundle
    stays.
    """
    from ...models.families import SAMPLES
    from ...runtime.bundle.bundle import Bundle

    bundle = Bundle.open(folder)
    if FAMILIES[bundle.manifest.family].task is not Task.SPEECH_TO_TEXT:
        return
    try:
        from ...export.verification.quality_gate import is_exact, judge
    except ImportError as error:
        print_note(
            f"quality not checked: that needs more packages ({error.name} is missing); run "
            "'pip install \"kyutai-onnx[cpu,export]\"' and export again",
            quiet=quiet,
        )
        return
    if is_exact(bundle):
        return
    samples = sorted(file for file in SAMPLES.iterdir() if file.suffix in (".wav", ".flac"))
    recordings = recordings or read_recordings(checkpoint, samples)
    try:
        with progress_bar(quiet=quiet) as progress:
            verdict = judge(bundle, checkpoint, recordings, progress)
    except (ProviderError, UsageError) as error:
        print_note(f"quality not checked: {error}", quiet=quiet)
        return
    if not verdict.understands:
        print_note(
            "quality not checked: this checkpoint does not understand the recordings even in fp32; "
            "give others with '--gate-audio'",
            quiet=quiet,
        )
    elif verdict.passes:
        print_note(f"quality: {verdict}", quiet=quiet)
    else:
        raise QualityError(
            f"{folder}: {verdict}; choose a higher --precision, or accept it with '--no-gate'"
        )
