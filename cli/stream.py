"""`stream`: any model that hears, live; of a file at the pace at which it was spoken."""

from typing import Annotated

import typer

from . import options
from .choices import LiveFormat


def stream(
    input_file: Annotated[
        str, typer.Option("--input-file", help="Audio file to play in; - is standard input.")
    ],
    model: options.Model = None,
    kind: Annotated[
        LiveFormat, typer.Option("--format", "-f", help="Text, or an event a line as JSON.")
    ] = LiveFormat.TEXT,
    vad: Annotated[
        bool, typer.Option("--vad", help="Show pauses (needs a model with extra heads).")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, help="Pace; 2 is twice as fast as spoken.")
    ] = 1.0,
    save_output: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="Audio file for what Hibiki or Moshi says; - is standard output, with the text "
            "on stderr then.",
        ),
    ] = None,
    cfg_coef: options.CfgCoef = None,
    save_state: options.SaveState = None,
    load_state: options.LoadState = None,
    channel: options.Channel = None,
    temp: options.Temp = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Write what is said while it is being said; of Hibiki the translation, of Moshi the reply."""
    from .interpreting import Request
    from .live import Live
    from .load import open_model

    request = Request(
        audio=input_file,
        out=save_output,
        channel=channel,
        save_state=save_state,
        load_state=load_state,
        kind=kind,
        rate=rate,
        quiet=quiet,
    )
    request.check()
    live = Live(request, vad=vad, temp=temp, seed=seed, cfg_coef=cfg_coef)
    bundle = open_model(model, "stt", quiet)
    live.run(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)
