"""`evaluate`: word error rate and speed over a data set."""

import json
from typing import Annotated

from .. import options
from ..messages import print_note, progress_bar
from ..option_values import Normalizer
from ..options import INPUT, OUTPUT, option

app = options.new_app()


@app.command()
@options.with_groups
def evaluate(
    *,
    dataset: Annotated[
        str | None,
        option(
            "--dataset",
            metavar="NAME|MANIFEST",
            panel=INPUT,
            help="Folder, manifest (.jsonl) or named set such as librispeech.clean. Default: the "
            "samples of the embedded demo.",
        ),
    ] = None,
    limit: Annotated[
        int | None, option("--limit", min=1, panel=INPUT, help="Evaluate only so many samples.")
    ] = None,
    normalizer: Annotated[
        Normalizer,
        option("--normalizer", panel=OUTPUT, help="How texts are normalized before comparison."),
    ] = Normalizer.ENGLISH,
    show_errors: Annotated[
        bool, option("--show-errors", panel=OUTPUT, help="Print the samples with errors.")
    ] = False,
    as_json: options.Json = False,
    model: options.ModelOptions,
    general: options.General,
) -> None:
    """Measure word error rate and speed on recordings.

    Word times and pauses are measured too where the data set has the times of words.
    """
    from ..load import load, require

    require("evaluate", "jiwer", "whisper_normalizer")
    from ...models.families import SPEECH_TO_TEXT
    from ...models.resolve import SAMPLES
    from ..evaluation import scores

    loaded = load(SPEECH_TO_TEXT, model, quiet=general.quiet)
    score, wrong = scores.Score(scores.normalizer(normalizer)), list[scores.Wrong]()

    def show() -> None:
        for name, expected, found in wrong if show_errors else []:
            print_note(f"{name}: expected {expected!r}, found {found!r}")
        if as_json:
            print(json.dumps(score.as_json(loaded.has_pauses), indent=2))
        else:
            print("\n".join(score.lines(loaded.has_pauses)))

    try:
        with progress_bar(quiet=general.quiet) as bar:
            scores.score_samples(loaded, dataset or str(SAMPLES), score, wrong, limit, bar)
    except KeyboardInterrupt:
        if score.samples:
            show()
        raise
    show()
