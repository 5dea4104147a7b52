"""What was compared, as tables of markdown."""

from collections.abc import Iterable, Iterator
from typing import Any

FRAME_MS = 80.0
HEAD = (
    "engine",
    "ms a frame",
    "p99",
    "times real time",
    "against ours",
    "of its floor",
    "by part",
    "first frame",
    "opens in",
    "weights",
    "peak memory",
    "size",
)


def as_markdown(found: Iterable[dict[str, Any]]) -> str:
    return "\n".join("\n".join(_table(work)) + "\n" for work in found)


def _table(work: dict[str, Any]) -> Iterator[str]:
    yield f"### {work['work']}"
    yield ""
    yield (
        f"{work['threads']} threads; memory is read at {work['read_gb_per_second']:.1f} GB/s, fp32 "
        f"multiplied at {work['fp32_gmacs_per_second']:.0f} G/s"
    )
    yield ""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    best = min(row["frame_ms"] for row in work["engines"])
    for row in work["engines"]:
        yield f"| {' | '.join(_cells(row, best, work['batch']))} |"


def _cells(row: dict[str, Any], best: float, batch: int) -> Iterator[str]:
    yield row["engine"]
    yield f"{row['frame_ms']:.1f}"
    yield f"{row['p99_ms']:.1f}"
    yield f"{batch * FRAME_MS / row['frame_ms']:.2f}"
    yield f"{row['frame_ms'] / best:.2f}"
    floors = row.get("floor_ms")
    yield "" if floors is None else f"{row['frame_ms'] / sum(floors.values()):.2f}"
    yield "; ".join(_part(name, spent, floors) for name, spent in row["parts_ms"].items())
    yield f"{1e3 * row['first_seconds']:.0f} ms"
    yield f"{row['load_seconds']:.1f} s"
    weights = row.get("weights_mb")
    yield "" if weights is None else f"{weights / 1e3:.2f} GB"
    yield f"{row['peak_mb'] / 1e3:.2f} GB"
    size = row.get("size_mb")
    yield "" if size is None else f"{size / 1e3:.2f} GB"


def _part(name: str, spent: float, floors: dict[str, float] | None) -> str:
    least = "" if floors is None else f" ({spent / floors[name]:.2f} of {floors[name]:.1f})"
    return f"{name.replace('_', ' ')} {spent:.1f}{least}"
