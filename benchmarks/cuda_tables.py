"""What was measured on a GPU, as tables of markdown."""

from collections.abc import Iterator
from typing import Any

FRAME_MS = 80.0
Row = dict[str, Any]


def as_markdown(report: Row) -> str:
    """The machine, then of each model where its graphs lie and what a frame costs."""
    gpu = ", ".join(report["gpu"]) or "no GPU"
    lines = [f"{gpu}; onnxruntime {report['onnxruntime']}, provider {report['provider']}", ""]
    for found in filter(None, report["works"]):
        lines += [f"### {found['work']}", "", *_placement(found), "", *_times(found), ""]
    return "\n".join(lines).rstrip() + "\n"


def _placement(found: Row) -> Iterator[str]:
    yield from _head("precision", "graph", "nodes", "computes elsewhere", "captured")
    for precision, graphs in found["placement"].items():
        for graph in graphs:
            nodes = [f"{sum(ops.values())} {name}" for name, ops in graph["nodes"].items()]
            other = [f"{n} {op}" for ops in graph["elsewhere"].values() for op, n in ops.items()]
            captured = "yes" if graph["captured"] else "no"
            cells = (precision, graph["graph"], ", ".join(nodes), ", ".join(other) or "nothing")
            yield _line(*cells, captured)


def _times(found: Row) -> Iterator[str]:
    yield from _head(
        "engine", "streams", "ms a frame", "p99", "times real time", "keeps up", "by part", "GPU"
    )
    for row in found["engines"]:
        parts = [f"{name.replace('_', ' ')} {ms:.1f}" for name, ms in row["parts_ms"].items()]
        memory = row["gpu_memory_mb"]
        yield _line(
            row["engine"],
            str(row["streams"]),
            f"{row['frame_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['streams'] * FRAME_MS / row['frame_ms']:.1f}",
            "yes" if row["keeps_up"] else "no",
            "; ".join(parts),
            "" if memory is None else f"{memory / 1e3:.1f} GB",
        )


def _head(*names: str) -> Iterator[str]:
    yield _line(*names)
    yield "|---" * len(names) + "|"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
