"""`evaluate`: word error rate and speed over a data set."""

import json
from typing import Annotated

import typer

from .. import options
from ..choices import Normalizer
from ..messages import progress_bar, say


def evaluate(
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|MANIFEST",
            help="A folder, a manifest (.jsonl), or a named set such as librispeech.clean; "
            "default: the samples that ship with the demo.",
        ),
    ] = None,
    model: options.Model = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many samples.")] = None,
    normalizer: Annotated[
        Normalizer, typer.Option(help="How texts are made comparable.")
    ] = Normalizer.ENGLISH,
    show_errors: Annotated[
        bool, typer.Option("--show-errors", help="Show the samples that were not right.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Measure word error rate and speed, and word times and pauses where they are known."""
    from ..packages import require

    require("evaluate", "jiwer", "whisper_normalizer")
    from ...models.hub.resolve import SAMPLES
    from ..evaluation.scores import Score, Wrong, score_samples
    from ..evaluation.scores import normalizer as make_normalizer
    from ..load import load_speech_to_text

    loaded = load_speech_to_text(model, provider, threads, allow_fallback, quiet)
    score, wrong = Score(make_normalizer(normalizer)), list[Wrong]()

    def show() -> None:
        for name, expected, found in wrong if show_errors else []:
            say(f"{name}: expected {expected!r}, found {found!r}")
        if as_json:
            print(json.dumps(score.as_json(loaded.has_pauses), indent=2))
        else:
            print("\n".join(score.lines(loaded.has_pauses)))

    try:
        with progress_bar(quiet=quiet) as bar:
            score_samples(loaded, dataset or str(SAMPLES), score, wrong, limit, bar)
    except KeyboardInterrupt:
        if score.samples:
            show()
        raise
    show()
