"""`chat`: Moshi on a recorded side of a talk."""

from typing import Annotated

import typer

from .. import options


def chat(
    audio: Annotated[
        str, typer.Argument(metavar="IN", help="Your side of the talk; - is standard input.")
    ],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Audio file for Moshi's side; - is standard output, with the text on stderr then.",
        ),
    ],
    model: options.Model = None,
    words: options.Words = None,
    srt: options.Srt = None,
    channel: options.Channel = None,
    dump_tokens: options.DumpTokens = None,
    save_state: options.SaveState = None,
    load_state: options.LoadState = None,
    temp: options.Temp = None,
    temp_text: options.TempText = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Let Moshi answer a recording: its side of the talk to a file, the text to standard output.

    Tokens are drawn by chance; without --seed by one that is told, since the best ones alone keep
    Moshi silent.
    """
    from ..load import load_moshi
    from ..translation import Request, interpret, resume

    request = Request(
        audio=audio,
        out=out,
        channel=channel,
        words=words,
        srt=srt,
        dump_tokens=dump_tokens,
        save_state=save_state,
        load_state=load_state,
        quiet=quiet,
    )
    request.check(force=force)
    loaded, trace = load_moshi(model, provider, threads, allow_fallback, quiet), request.trace()
    text = temp if temp_text is None else temp_text
    stream = loaded.stream(temperature=temp, text_temperature=text, seed=seed, trace=trace)
    resume(stream, request, seed, temp=temp, temp_text=temp_text)
    interpret(stream, request, trace)
