"""`codec encode` and `codec decode`: Mimi on files."""

from typing import Annotated

import typer

from .. import options

app = typer.Typer(
    help="Mimi on files: audio to codes and back.", no_args_is_help=True, add_completion=False
)


@app.command()
def encode(
    audio: Annotated[str, typer.Argument(help="Audio file; - is standard input.")],
    codes: Annotated[
        str, typer.Argument(help="File of codes to write (.npz); - is standard output.")
    ],
    model: options.Model = None,
    codebooks: Annotated[
        int | None, typer.Option(min=1, help="How many of the bundle's codebooks; default: all.")
    ] = None,
    channel: options.Channel = None,
    dump_tokens: options.DumpTokens = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Turn audio into Mimi's codes."""
    from ..files import declare
    from ..load import load_mimi
    from ..output import codes_file
    from ..output.token_trace import dump_tokens as write_dump

    declare(reads=[audio], others=[codes, dump_tokens], force=force)
    mimi = load_mimi(model, provider, threads, allow_fallback, quiet)
    made = codes_file.encode(mimi, audio, codes, codebooks=codebooks, channel=channel, quiet=quiet)
    if dump_tokens is not None:
        write_dump(dump_tokens, codes=made)


@app.command()
def decode(
    codes: Annotated[str, typer.Argument(help="File of codes (.npz); - is standard input.")],
    audio: Annotated[str, typer.Argument(help="Audio file to write; - is standard output.")],
    model: options.Model = None,
    dump_tokens: options.DumpTokens = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Turn Mimi's codes back into audio."""
    from ..files import declare
    from ..load import load_mimi
    from ..output import codes_file
    from ..output.token_trace import dump_tokens as write_dump

    declare(reads=[codes], audio=[audio], others=[dump_tokens], force=force)
    mimi = load_mimi(model, provider, threads, allow_fallback, quiet)
    read = codes_file.decode(mimi, codes, audio)
    if dump_tokens is not None:
        write_dump(dump_tokens, codes=read)
