"""`translate`: speech of a file into speech and text of another language."""

from typing import Annotated

import typer

from .. import options


def translate(
    audio: Annotated[str, typer.Argument(metavar="IN", help="Audio file; - is standard input.")],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Audio file to write; - is standard output, with the text on stderr then.",
        ),
    ],
    model: options.Model = None,
    cfg_coef: options.CfgCoef = None,
    words: options.Words = None,
    srt: options.Srt = None,
    max_tail: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="How long it may go on after the end of the recording; default: as long as that "
            "and 30 s more.",
        ),
    ] = None,
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
    """Translate speech (Hibiki): speech to a file, its text to standard output as it comes."""
    from ..load import load_hibiki
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
    loaded, trace = load_hibiki(model, provider, threads, allow_fallback, quiet), request.trace()
    stream = loaded.stream(
        cfg_coef=1.0 if cfg_coef is None else cfg_coef,
        temperature=temp,
        text_temperature=temp if temp_text is None else temp_text,
        seed=seed,
        max_tail=max_tail,
        trace=trace,
    )
    resume(stream, request, seed, cfg_coef=cfg_coef, temp=temp, temp_text=temp_text)
    interpret(stream, request, trace)
