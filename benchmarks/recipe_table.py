"""What recipes cost, as a table of markdown; the first row is what the others are held against."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEAD = (
    "recipe",
    "bundle, MB",
    "bits a weight",
    "at 1B",
    "same token",
    "nats a step",
    "words doubted",
    "word error rate",
    "against the first",
)


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    lines += [f"| {' | '.join(_cells(row, rows[0]))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], first: dict[str, Any]) -> Iterator[str]:
    recognized = row["transcribed"]
    verdicts = [one["verdict"] for one in recognized]
    steps = sum(verdict["steps"] for verdict in verdicts)
    said = sum(verdict["words"] for verdict in verdicts)
    words = sum(one["words"] for one in recognized)
    errors, at_first = _errors(row), _errors(first)
    yield row["recipe"]
    yield f"{row['bundle_bytes'] / 1e6:.2f}"
    yield f"{row['bits_a_weight']:.2f}"
    yield f"{row['bits_a_weight_published']:.2f}"
    yield f"{100 * sum(verdict['agreed'] for verdict in verdicts) / steps:.2f} %"
    yield f"{sum(verdict['divergence'] for verdict in verdicts) / steps:.5f}"
    yield f"{100 * sum(verdict['doubted'] for verdict in verdicts) / said:.2f} %"
    yield f"{100 * errors.sum() / words:.2f} ± {_uncertain(errors, words):.2f} %"
    more = errors - at_first
    yield f"{100 * more.sum() / words:+.2f} ± {_uncertain(more, words):.2f}"


def _errors(row: dict[str, Any]) -> Any:
    return np.concatenate([one["errors"] for one in row["transcribed"]])


def _uncertain(errors: Any, words: int) -> float:
    """The standard error in percent of words, of resampled recordings."""
    return float(100 * errors.std() * len(errors) ** 0.5 / words)
