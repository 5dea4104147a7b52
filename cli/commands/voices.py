"""`voices list`: the voices that a model can speak in."""

from typing import Annotated

import typer

from .. import options

app = typer.Typer(
    help="The voices that a model can speak in.", no_args_is_help=True, add_completion=False
)


@app.callback()
def voices() -> None:
    """The voices that a model can speak in."""


@app.command("list")
def list_voices(
    model: options.Model = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Those that are on this machine alone.")
    ] = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """List voices by name, with where they are: in the bundle, in the cache or on the Hub."""
    from ...models.families import TEXT_TO_SPEECH
    from ...models.hub.resolve import open_bundle
    from ...models.tts.voices import Voices
    from ..load import open_model
    from ..messages import say

    bundle = open_bundle(open_model(model, quiet, TEXT_TO_SPEECH), TEXT_TO_SPEECH)
    found, reason = Voices(bundle).listed(online=not offline)
    for voice in found:
        print(f"{voice.name}\t{voice.place}")
    if reason is not None:
        say(f"note: {reason}", quiet=quiet)
    if not found:
        say(f"{bundle.manifest.name} has no voices here", quiet=quiet)
