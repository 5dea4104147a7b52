"""`stream`: speech to text live, word by word; of a file at the pace at which it was spoken."""

from typing import Annotated

import typer

from . import options
from .formats import LiveFormat


def stream(
    input_file: Annotated[
        str, typer.Option("--input-file", help="Audio file to play in; - is standard input.")
    ],
    model: options.Model = None,
    kind: Annotated[
        LiveFormat, typer.Option("--format", "-f", help="Words, or an event a line as JSON.")
    ] = LiveFormat.TEXT,
    vad: Annotated[
        bool, typer.Option("--vad", help="Show pauses (needs a model with extra heads).")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, help="Pace; 2 is twice as fast as spoken.")
    ] = 1.0,
    channel: options.Channel = None,
    temp: options.Temp = None,
    seed: options.Seed = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Write what is said while it is being said."""
    from .listening import listen
    from .load import load_speech_to_text

    loaded = load_speech_to_text(model, provider, threads, allow_fallback, quiet)
    listen(
        loaded,
        input_file,
        kind=kind,
        vad=vad,
        rate=rate,
        channel=channel,
        temperature=temp,
        seed=seed,
        quiet=quiet,
    )
