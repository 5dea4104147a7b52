"""`turns`: an end-of-turn policy over recordings, to see what it misses and where it cuts in."""

import json
from typing import Annotated

import typer

from .. import options


def turns(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME|MANIFEST",
            help="Recordings as for 'evaluate'; without word times the model's own count. Default: "
            "the samples of the demo.",
        ),
    ] = None,
    gap: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds of rest between words that end a turn."),
    ] = 2.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many recordings.")] = None,
    show: Annotated[
        bool, typer.Option("--show", help="A line for each end that was missed or early.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    model: options.Model = None,
    turn_horizon: options.TurnHorizon = None,
    turn_threshold: options.TurnThreshold = None,
    turn_hysteresis: options.TurnHysteresis = None,
    turn_min_words: options.TurnMinWords = None,
    turn_hold: options.TurnHold = None,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Replay recordings and tell how well a policy finds the ends of turns."""
    from ...models import TurnPolicy
    from ...models.hub.resolve import SAMPLES
    from ..evaluation.datasets import read_samples
    from ..load import load_speech_to_text
    from ..signals import shown_when_interrupted
    from ..transcription import require_pauses
    from ..turn_policy import turn_policy
    from ..turn_replay import Tally, replay

    policy = turn_policy(
        horizon=turn_horizon,
        threshold=turn_threshold,
        hysteresis=turn_hysteresis,
        min_words=turn_min_words,
        hold=turn_hold,
    )
    samples = read_samples(str(dataset or SAMPLES), limit)
    loaded = load_speech_to_text(model, provider, threads, allow_fallback, quiet)
    require_pauses(loaded)
    tally = Tally()

    def show_tally() -> None:
        print(json.dumps(tally.as_json(), indent=2) if as_json else "\n".join(tally.lines()))

    with shown_when_interrupted(show_tally, lambda: tally.turns > 0):
        for sample in samples:
            found = replay(loaded, sample, policy or TurnPolicy(), gap)
            tally.add(found)
            for line in found.lines(str(sample.audio)) if show else []:
                print(line)
    show_tally()
