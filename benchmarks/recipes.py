"""Which way to round the weights costs how many words: each recipe as a bundle of its own.

    python -m benchmarks.recipes --repo training/stt-demo-en --dataset training/sets/a --work DIR

Every bundle transcribes the recordings on its own. The word errors are counted. The checkpoint is
asked in fp32, at each step of what the bundle received and generated, for its next token: how often
that is the same one, and how far the two distributions diverge. What is measured stays in the work
folder and is not measured again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from kyutai_onnx.cli.evaluation.scores import Score, normalizer
from kyutai_onnx.cli.option_values import Normalizer
from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.checkpoint.config import LMConfig
from kyutai_onnx.conversion.convert import Request, open_request
from kyutai_onnx.export.bundle import export_checkpoint
from kyutai_onnx.export.plan import TEMPORAL
from kyutai_onnx.export.verification.quality_gate import Verdict, compare
from kyutai_onnx.models import SpeechToText

from .compensated import input_moments
from .configs import PUBLISHED
from .low_precision import Moments, Named, all_recipes, bits_a_weight
from .recipe_table import as_markdown
from .recordings import Condition, Recording, conditions, encode, transcribe_all

PUBLISHED_SIZE = "stt-1b-en_fr"
CALIBRATION = 128
"""Recordings that the inputs of layers are learnt from."""
JUDGED = 4
"""The checkpoint is asked about one recording of so many, since that takes longer."""


class Comparison:
    """One checkpoint, its codec and the folder that all of it is kept in."""

    def __init__(self, repo: str, work: Path, calibration: str) -> None:
        self._repo, self._work, self._calibration = repo, work, calibration
        self.checkpoint: Checkpoint = open_request(Request(repo))
        assert self.checkpoint.config.lm is not None
        self._config = self.checkpoint.config.lm
        self.moments = cache(self._moments)
        self.recipes = all_recipes(self._config.transformer.num_layers, self.moments)
        self.reference = cache(partial(self._open, "fp32", Named("fp32")))

    def measured(self, name: str, what: Sequence[Condition], limit: int | None) -> dict[str, Any]:
        """The figures of a recipe under every condition."""
        kept = self._work / f"{_plain(name)}.json"
        found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        wanted = [str(condition) for condition in what]
        kept_for = [one["condition"] for one in found.get("transcribed", [])]
        if kept_for != wanted or found.get("limit") != limit:
            found = self._measure(name, what, limit)
            kept.write_text(json.dumps(found))
        return found

    def _measure(self, name: str, what: Sequence[Condition], limit: int | None) -> dict[str, Any]:
        named = self.recipes[name]()
        model = self._open(name, named)
        sizes = {name: file.bytes for name, file in model.bundle.manifest.files.items()}
        published = LMConfig.from_json(PUBLISHED[PUBLISHED_SIZE])
        return {
            "recipe": name,
            "limit": limit,
            "bundle_bytes": sum(sizes.values()),
            "language_model_bytes": sizes[f"{TEMPORAL}.onnx"] + sizes[f"{TEMPORAL}.data"],
            "bits_a_weight": bits_a_weight(named, self._config),
            "bits_a_weight_published": bits_a_weight(named, published),
            "transcribed": [
                {"condition": str(condition)}
                | self._recognized(model, encode(self.reference(), condition, limit, self._work))
                for condition in what
            ],
        }

    def _recognized(self, model: SpeechToText, recordings: Sequence[Recording]) -> dict[str, Any]:
        sums, errors, words = Verdict(), [0] * len(recordings), 0
        for group, said, events in transcribe_all(model, recordings):
            for index, found in zip(group, events, strict=True):
                score = Score(_normalize())
                score.add(recordings[index].sample, found, 0.0, 0.0)
                errors[index], words = score.errors, words + score.words
            judged = [one for index, one in zip(group, said, strict=True) if index % JUDGED == 0]
            if judged:
                one = asdict(compare(judged, self.checkpoint))
                sums = Verdict(**{key: value + one[key] for key, value in asdict(sums).items()})
        return {"words": words, "errors": errors, "verdict": asdict(sums)}

    def _open(self, name: str, named: Named) -> SpeechToText:
        folder = self._work / _plain(name)
        if not folder.exists():
            request = Request(
                self._repo,
                folder,
                precision=named.precision,
                kv_cache=named.cache,
                recipe=named.recipe,
            )
            export_checkpoint(self.checkpoint, request)
        return SpeechToText.load(folder)

    def _moments(self) -> Moments:
        model = self.reference()
        recordings = encode(model, Condition(self._calibration), CALIBRATION, self._work)
        said = [one for _, some, _ in transcribe_all(model, recordings) for one in some]
        return input_moments(self.checkpoint, said)


@cache
def _normalize() -> Any:
    return cache(normalizer(Normalizer.ENGLISH))


def _plain(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True, help="a speech-to-text checkpoint")
    parser.add_argument("--dataset", nargs="+", required=True)
    parser.add_argument("--snr", nargs="*", type=float, default=[], help="white noise too, dB")
    parser.add_argument(
        "--calibration",
        default="training/sets/b",
        help="a set for the compensated ones, not measured",
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only so many recordings of each set")
    parser.add_argument("--recipe", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, help="the figures as .json, the table beside it as .md")
    chosen = parser.parse_args()
    if chosen.calibration in chosen.dataset:
        parser.error(f"--calibration {chosen.calibration} is measured on: choose another set")
    chosen.work.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(chosen.repo, chosen.work, chosen.calibration)
    what = conditions(chosen.dataset, chosen.snr)
    rows = []
    for name in chosen.recipe or comparison.recipes:
        rows.append(comparison.measured(name, what, chosen.limit))
        print(as_markdown([rows[0], rows[-1]]).splitlines()[-1], flush=True)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(rows, indent=1))
        chosen.out.with_suffix(".md").write_text(as_markdown(rows))
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
