"""`voices list`: the voices that a model can speak in."""

from .. import options

HELP = "List the voices of a model."
app = options.new_app(help=HELP, no_args_is_help=True)


@app.callback()
def voices() -> None:
    """List the voices of a model."""


@app.command("list")
@options.with_groups
def list_voices(
    *,
    model: options.NamedModel,
    general: options.General,
) -> None:
    """List voices, and where each is stored.

    A voice is in the bundle, in the cache or on the Hub; with --offline those on the Hub are left
    out.
    """
    from ...models.families import TEXT_TO_SPEECH
    from ...models.resolve import open_bundle
    from ...models.tts.voices import Voices
    from ..load import open_model
    from ..messages import print_note

    bundle = open_bundle(open_model(model, general.quiet, TEXT_TO_SPEECH), TEXT_TO_SPEECH)
    found, reason = Voices(bundle).listed(online=not model.offline)
    for voice in found:
        print(f"{voice.name}\t{voice.place}")
    if reason is not None:
        print_note(f"note: {reason}", quiet=general.quiet)
    if not found:
        print_note(f"{bundle.manifest.name} has no voices on this machine", quiet=general.quiet)
