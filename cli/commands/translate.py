"""`translate`: speech of a file into speech and text of another language."""

from typing import Annotated

from .. import options
from ..options import OUTPUT, option

app = options.new_app()


@app.command()
@options.with_groups
def translate(
    *,
    recording: options.Recording,
    max_tail: Annotated[
        float | None,
        option(
            "--max-tail",
            min=0.0,
            metavar="SECONDS",
            panel=OUTPUT,
            help="How long the translation may go on after the end of the recording. Default: its "
            "length and 30 s.",
        ),
    ] = None,
    model: options.ModelOptions,
    sampling: options.SpeechSampling,
    cfg_coef: options.CfgCoef = None,
    state: options.StateFiles,
    general: options.General,
) -> None:
    """Translate speech to speech and text with Hibiki.

    Speech goes to OUT; the text is printed as it comes.
    """
    from ...models.families import HIBIKI
    from ..translation import answer

    asked = {"cfg_coef": cfg_coef, "max_tail": max_tail}
    answer(HIBIKI, recording, model, sampling, state, quiet=general.quiet, **asked)
