"""`transcribe`: speech to text of files."""

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..choices import Format, Style


def transcribe(
    files: Annotated[list[str], typer.Argument(help="Audio files; - is standard input.")],
    model: options.Model = None,
    kind: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.TEXT,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A file or, of several inputs, a folder; - is stdout."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Text with the times of each word.")
    ] = False,
    vad: Annotated[
        bool, typer.Option("--vad", help="Show pauses (needs a model with extra heads).")
    ] = False,
    prompt_text: Annotated[
        str | None, typer.Option(help="Text that the model is made to begin with.")
    ] = None,
    prompt_audio: Annotated[
        Path | None, typer.Option(help="Audio heard first, such as a voice or a subject.")
    ] = None,
    cut_prompt: Annotated[
        bool, typer.Option("--cut-prompt", help="Leave out what the audio prompt says.")
    ] = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    rtf: Annotated[
        float | None,
        typer.Option(
            "--rtf",
            min=0.01,
            help="Send seconds of audio a second to the server; default: as fast as it takes them.",
        ),
    ] = None,
    channel: options.Channel = None,
    dump_tokens: options.DumpTokens = None,
    temp: options.Temp = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> int:
    """Write what is said in recordings and films, with times, as it is found."""
    from .. import remote
    from ..files import declare
    from ..load import load_speech_to_text
    from ..output import transcripts
    from ..transcription import Prompt, Request, Transcription

    request = Request(
        files=tuple(files),
        style=Style(kind, timestamps, pauses=vad),
        out=out,
        prompt=Prompt(prompt_text, prompt_audio, cut_prompt),
        channel=channel,
        temperature=temp,
        seed=seed,
        dump_tokens=dump_tokens,
        quiet=quiet,
    )
    request.check()
    declare(
        reads=[*files, prompt_audio, remote.key_file(api_key)],
        others=[*transcripts.out_paths(out, files, kind), dump_tokens],
        force=force,
    )
    if server is not None:
        remote.refuse(
            prompt_text=prompt_text,
            prompt_audio=prompt_audio,
            dump_tokens=dump_tokens,
            provider=provider != "auto",
            allow_fallback=allow_fallback,
            threads=threads,
        )
        with remote.connect(server, api_key) as there:
            return Transcription(there.speech_to_text(model, rtf=rtf), request).run()
    remote.refuse_without(api_key=api_key, rtf=rtf)
    loaded = load_speech_to_text(model, provider, threads, allow_fallback, quiet)
    return Transcription(loaded, request).run()
