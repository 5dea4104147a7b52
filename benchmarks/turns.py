"""How well a policy finds the ends of turns in recordings whose words are known.

    python -m benchmarks.turns [BUNDLE] [--dataset demo/sets/a] [--policy FILE|PRESET] [--show]

Plays recordings, and rest after each, to speech to text frame by frame. An end is missed that is
not reported before the next turn begins, and early if it is reported within a turn.
Without a bundle the embedded demo transcribes, without a data set its samples.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from kyutai_onnx.cli.evaluation.datasets import Sample, read_samples, samples_of
from kyutai_onnx.cli.live.turn_policy import turn_policy
from kyutai_onnx.models import EndOfTurn, SpeechToText, TurnPolicy, Word
from kyutai_onnx.models.families import SAMPLES

AFTER_SECONDS = 3.0
"""Rest that follows each recording, so that its last turn can end."""

EARLY_SECONDS = 0.3
"""How long before the last sound of a turn its end may be reported and still be none too early."""


@dataclass(frozen=True)
class Replayed:
    """Turns of a recording, from `starts` to `ends` in seconds, and the moments at which their ends
    were reported."""

    starts: tuple[float, ...]
    ends: tuple[float, ...]
    reported: tuple[float, ...]

    def delay(self, turn: int) -> float | None:
        """Seconds from the end of a turn to its report; None where it was missed: nothing was
        reported before the next one began."""
        until = self.starts[turn + 1] if turn + 1 < len(self.starts) else float("inf")
        after = self.ends[turn] - EARLY_SECONDS
        return next((t - self.ends[turn] for t in self.reported if after <= t < until), None)

    @property
    def early(self) -> list[float]:
        """The moments at which an end was reported within a turn."""
        turns = list(zip(self.starts, self.ends, strict=True))
        return [t for t in self.reported if any(s < t < e - EARLY_SECONDS for s, e in turns)]

    def lines(self, name: str) -> list[str]:
        """What went wrong, a line each."""
        missed = [end for turn, end in enumerate(self.ends) if self.delay(turn) is None]
        return [f"{name}: the end at {end:.2f} s was missed" for end in missed] + [
            f"{name}: an end was reported at {moment:.2f} s, within a turn" for moment in self.early
        ]


@dataclass
class Tally:
    """Sums over recordings."""

    turns: int = 0
    missed: int = 0
    early: int = 0
    delays: list[float] = field(default_factory=list)

    def add(self, found: Replayed) -> None:
        """Counts one recording."""
        delays = [found.delay(turn) for turn in range(len(found.ends))]
        self.turns += len(delays)
        self.missed += delays.count(None)
        self.early += len(found.early)
        self.delays += [delay for delay in delays if delay is not None]

    def as_json(self) -> dict[str, float | int]:
        """The figures by name; times in seconds."""
        content: dict[str, float | int] = {
            "turns": self.turns,
            "missed": self.missed,
            "early": self.early,
        }
        if self.delays:
            content["median_delay"] = float(np.median(self.delays))
            content["greatest_delay"] = max(self.delays)
        return content

    def lines(self) -> list[str]:
        """The figures in words."""
        share = 100 / max(1, self.turns)
        lines = [
            f"turns     {self.turns}",
            f"missed    {self.missed} ({share * self.missed:.1f} %)",
            f"early     {self.early} ({share * self.early:.1f} %)",
        ]
        if self.delays:
            lines.append(
                f"reported  {np.median(self.delays):.2f} s after the last word (median; at most "
                f"{max(self.delays):.2f} s)"
            )
        return lines


def replay(model: SpeechToText, sample: Sample, policy: TurnPolicy, gap: float) -> Replayed:
    """Hears a recording, and rest after it, frame by frame, as a microphone would bring it.

    Raises AudioError where it cannot be read.
    """
    pcm, size = samples_of(sample, model.sample_rate), model.frame_size
    rest = np.zeros(round(AFTER_SECONDS * model.sample_rate), np.float32)
    stream = model.stream(policy=policy)
    sound, reported, words = np.concatenate([pcm, rest]), [], list[Word]()
    for start in range(0, len(sound), size):
        for event in stream.feed(sound[start : start + size]):
            if isinstance(event, EndOfTurn):
                reported.append((start + size) / model.sample_rate)
            elif isinstance(event, Word):
                words.append(event)
    words += [event for event in stream.flush() if isinstance(event, Word)]
    starts, ends = turns_of(sample.words or words, gap)
    return Replayed(starts, ends, tuple(reported))


def turns_of(words: Sequence[Word], gap: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where turns begin and end, in seconds: between words that are `gap` or more apart."""
    if not words:
        return (), ()
    pairs = [(a, b) for a, b in pairwise(words) if b.start - a.end >= gap]
    starts = (words[0].start, *(after.start for _, after in pairs))
    return starts, (*(before.end for before, _ in pairs), words[-1].end)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--dataset", default=str(SAMPLES), help="as for 'kyutai-onnx evaluate'")
    parser.add_argument(
        "--policy", default="default", help="as for 'kyutai-onnx stream --turn-policy'"
    )
    parser.add_argument("--gap", type=float, default=2.0, help="seconds of rest that end a turn")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--show", action="store_true", help="a line for each missed or early end")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    policy = turn_policy(given.policy).turns
    model = SpeechToText.load(given.bundle, threads=given.threads)
    if not model.has_pauses:
        parser.error(f"{model.name} has no pause heads; export it again with '--extra-heads REPO'")
    tally = Tally()
    for sample in read_samples(given.dataset, given.limit):
        found = replay(model, sample, policy, given.gap)
        tally.add(found)
        for line in found.lines(str(sample.audio)) if given.show else []:
            print(line)
    print(json.dumps(tally.as_json(), indent=2) if given.json else "\n".join(tally.lines()))


if __name__ == "__main__":
    main()
