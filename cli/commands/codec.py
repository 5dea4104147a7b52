"""`codec encode` and `codec decode`: Mimi on files."""

from typing import Annotated

from .. import options
from ..options import argument, option

HELP = "Encode audio to Mimi codes, and decode them."
app = options.new_app(help=HELP, no_args_is_help=True)


@app.command()
@options.with_groups
def encode(
    *,
    audio: Annotated[str, argument(help="Audio file; - is standard input.")],
    codes: Annotated[str, argument(help="File of codes to write (.npz); - is standard output.")],
    channel: options.Channel = None,
    raw: options.RawInput,
    dump_tokens: options.DumpTokens = None,
    force: options.Force = False,
    model: options.ModelOptions,
    codebooks: Annotated[
        int | None,
        option(
            "--codebooks",
            min=1,
            panel=options.MODEL,
            help="Codebooks to write. Default: all of the bundle.",
        ),
    ] = None,
    general: options.General,
) -> None:
    """Encode audio to Mimi codes."""
    from ...models.families import MIMI
    from ...runtime.audio import read_audio
    from ..files import check_recording, declare
    from ..load import load
    from ..output import codes_file, token_trace

    form = raw.format
    declare(reads=[audio], others=[codes, dump_tokens], force=force)
    check_recording(audio, channel=channel, raw=form)
    mimi = load(MIMI, model, quiet=general.quiet)
    with read_audio(audio, mimi.sample_rate, channel=channel, raw=form) as blocks:
        made = codes_file.encode_file(mimi, blocks, codes, codebooks=codebooks, quiet=general.quiet)
    if dump_tokens is not None:
        token_trace.dump_tokens(dump_tokens, codes=made)


@app.command()
@options.with_groups
def decode(
    *,
    codes: Annotated[str, argument(help="File of codes (.npz); - is standard input.")],
    audio: Annotated[str, argument(help="Audio file to write; - is standard output.")],
    dump_tokens: options.DumpTokens = None,
    force: options.Force = False,
    model: options.ModelOptions,
    general: options.General,
) -> None:
    """Decode Mimi codes to audio."""
    from ...models.families import MIMI
    from ...runtime.audio.files.writer import check_target
    from ..files import declare
    from ..load import load
    from ..output import codes_file, token_trace

    declare(reads=[codes], audio=[audio], others=[dump_tokens], force=force)
    check_target(audio)
    read = codes_file.read_codes(codes)
    mimi = load(MIMI, model, quiet=general.quiet)
    codes_file.decode_file(mimi, read, audio)
    if dump_tokens is not None:
        token_trace.dump_tokens(dump_tokens, codes=read.codes)
