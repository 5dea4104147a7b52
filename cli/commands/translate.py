"""`translate`: speech of a file into speech and text of another language."""

from ...models.options import TranslationOptions
from .. import options

app = options.new_app()


@app.command()
@options.with_groups
def translate(
    *,
    recording: options.Recording,
    raw: options.RawInput,
    model: options.ModelOptions,
    asked: TranslationOptions,
    state: options.StateFiles,
    general: options.General,
) -> None:
    """Translate speech to speech and text with Hibiki.

    Speech goes to OUT; the text is printed as it comes.
    """
    from ...models.families import HIBIKI
    from ..translation import answer

    answer(HIBIKI, recording, raw, model, asked, state, quiet=general.quiet)
