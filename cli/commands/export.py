"""`export`: a checkpoint becomes a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from ...runtime.errors import UsageError
from .. import options
from ..choices import CodecPrecision, Precision, Target
from ..files import declare_folder
from ..messages import progress_bar, say


def export(
    repo: Annotated[
        str,
        typer.Option("--repo", metavar="REPO", help="owner/name on the Hub, or a folder like one."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the bundle; default: the cache.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of the language model; default: int8 on the CPU, fp16 elsewhere."),
    ] = None,
    codec_precision: Annotated[
        CodecPrecision | None,
        typer.Option(help="Of Mimi; int8 is faster, and one code in six is another."),
    ] = None,
    kv_cache: Annotated[
        CodecPrecision | None,
        typer.Option(
            help="Of what the language model keeps of the past; int8, the default with int4 on the "
            "CPU, is a quarter of the size and read in half the time."
        ),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="The provider that the bundle is for.")
    ] = Target.CPU,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Fix the batch, for providers that want it.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    lora: Annotated[
        str | None, typer.Option(help="A LoRA adapter to merge: a file, or hf://owner/name/file.")
    ] = None,
    extra_heads: Annotated[
        str | None,
        typer.Option(help="Another repository of the same model that has the pause heads."),
    ] = None,
    codebooks: Annotated[int | None, typer.Option(min=1, help="Codebooks of the codec.")] = None,
    decoder: Annotated[
        bool | None,
        typer.Option(
            "--decoder/--no-decoder", help="Mimi's decoder too; default: not for speech-to-text."
        ),
    ] = None,
    gate_audio: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Recordings that a speech-to-text bundle must hear as its checkpoint does in "
            "fp32; default: the samples that ship with the demo.",
        ),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Whether to check that; exit 6 if it does not.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Export a checkpoint to a bundle that runs without torch. Prints the bundle's folder."""
    try:
        from ...export.bundle import Request, export_checkpoint, open_request
        from ..gate import hear_recordings, pass_gate
    except ImportError as error:
        raise UsageError(
            f"exporting needs more packages ({error.name} is missing); run "
            "'pip install \"kyutai-onnx[cpu,export]\"'"
        ) from None
    request = Request(
        repo=repo,
        out=out,
        target=target.value,
        precision=None if precision is None else precision.value,
        codec_precision=None if codec_precision is None else codec_precision.value,
        kv_cache=None if kv_cache is None else kv_cache.value,
        batch=batch,
        codebooks=codebooks,
        revision=revision,
        lora=lora,
        extra_heads=extra_heads,
        decoder=decoder,
        force=force,
    )
    declare_folder(out, reads=[repo, lora, extra_heads, *(gate_audio or ())])
    checkpoint = open_request(request)
    recordings = hear_recordings(checkpoint, gate_audio) if gate_audio else []
    with progress_bar(quiet=quiet) as progress:
        folder = export_checkpoint(checkpoint, request, progress)
    say(f"try it: kyutai-onnx info {folder}", quiet=quiet)
    print(folder)
    if gate:
        pass_gate(folder, checkpoint, recordings, quiet=quiet)
