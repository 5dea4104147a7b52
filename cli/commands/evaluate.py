"""`evaluate`: word error rate and speed over a data set."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from ...runtime.output_file import output_file
from .. import options
from ..files import declare, protect_folder
from ..messages import print_note, progress_bar
from ..option_values import Normalizer
from ..options import INPUT, OUTPUT, argument, option

app = options.new_app()


@app.command()
@options.with_groups
def evaluate(
    *,
    named: Annotated[str | None, argument(metavar="DATASET", help="As --dataset.")] = None,
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
    hypotheses: Annotated[
        Path | None,
        option(
            "--hypotheses",
            metavar="FILE",
            panel=OUTPUT,
            help="Write what was found in each sample as JSON lines: audio, text, hypothesis, "
            "substitutions, deletions, insertions.",
        ),
    ] = None,
    as_json: options.Json = False,
    model: options.ModelOptions,
    general: options.General,
) -> None:
    """Measure word error rate and speed on recordings.

    Word times and pauses are measured too if the data set has the times of words.
    """
    from ..load import load, require

    require("evaluate", "jiwer", "whisper_normalizer")
    from ...models.families import SAMPLES, SPEECH_TO_TEXT
    from ..evaluation import scores
    from ..evaluation.datasets import checked, read_samples

    name = options.one_of("--dataset", dataset, named) or str(SAMPLES)
    declare(reads=[name], others=[hypotheses])
    protect_folder(Path(name))
    samples, count = checked(name, read_samples(name, limit, quiet=general.quiet))
    loaded = load(SPEECH_TO_TEXT, model, quiet=general.quiet)
    score, found = scores.Score(scores.normalizer(normalizer)), list[scores.Hypothesis]()

    def show() -> None:
        for each in found if show_errors else []:
            if each.errors:
                print_note(f"{each.audio}: expected {each.text!r}, found {each.hypothesis!r}")
        if hypotheses is not None:
            with output_file(hypotheses) as file:
                for each in found:
                    line = json.dumps(dataclasses.asdict(each), ensure_ascii=False)
                    file.write(f"{line}\n".encode())
        if as_json:
            print(json.dumps(score.as_json(loaded.has_pauses), indent=2))
        else:
            print("\n".join(score.lines(loaded.has_pauses)))

    try:
        with progress_bar(quiet=general.quiet) as bar:
            for each in scores.score_samples(
                loaded, samples, score, lambda what, done: bar(what, done, count or limit or 0)
            ):
                found.append(each)
    except KeyboardInterrupt:
        if score.samples:
            show()
        raise
    show()
