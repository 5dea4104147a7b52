"""What attacks did, as tables of markdown."""

from collections.abc import Sequence
from typing import Any

Found = dict[str, Any]
HEAD = (
    "attack",
    "load",
    "`/health` idle, worst",
    "p50",
    "p99",
    "worst",
    "failed",
    "witnesses' lag p50",
    "worst",
    "upload p50",
    "worst",
    "`GET /` worst",
    "memory before, peak, after",
    "processor",
    "attacker got",
    "server",
)
SHORT_HEAD = (
    "attack",
    "`/health`, worst",
    "two streams",
    "recording, worst",
    "page, worst",
    "memory, most",
)


def as_markdown(found: Sequence[Found], *, head: bool = True) -> str:
    """A row for each attack."""
    lines = _head(HEAD) if head else []
    return "\n".join([*lines, *(_row(_cells(one)) for one in found)])


def compared(before: Sequence[Found], after: Sequence[Found]) -> str:
    """A row for each attack that is in both, before and after."""
    old = {one["name"]: one for one in before}
    lines = _head(SHORT_HEAD)
    for new in after:
        if (one := old.get(new["name"])) is not None:
            pairs = zip(_short(one), _short(new), strict=True)
            changes = (a if a == b else f"{a} → {b}" for a, b in pairs)
            lines.append(_row([f"`{new['name']}`: {new['text']}", *changes]))
    return "\n".join(lines)


def _short(one: Found) -> list[str]:
    lost = len(one["lost"])
    return [
        _answers(one["health"]),
        f"{lost} cut off or wrong" if lost else "right",
        _answers(one["uploads"]),
        _answers(one["pages"]),
        f"{one['memory']['peak']:.0f} MB",
    ]


def _cells(one: Found) -> list[str]:
    health, lag, memory = one["health"], one["lag"], one["memory"]
    return [
        one["name"],
        f"{one['load']:.1f}",
        _ms(one["idle"]["worst"]),
        _ms(health["p50"]),
        _ms(health["p99"]),
        _ms(health["worst"]),
        f"{health['failed']} of {health['count'] + health['failed']}",
        _ms(lag["p50"]),
        _lost(one) or _ms(lag["worst"]),
        _ms(one["uploads"]["p50"]),
        _answers(one["uploads"]),
        _answers(one["pages"]),
        f"{memory['before']:.0f}, {memory['peak']:.0f}, {memory['after']:.0f} MB",
        f"{one['cpu_seconds']:.1f} s",
        ", ".join(f"{count} × {status}" for status, count in sorted(one["statuses"].items())),
        _server(one),
    ]


def _lost(one: Found) -> str:
    return "; ".join(f"LOST {lost}" for lost in one["lost"])


def _answers(timing: Found) -> str:
    failed = f" ({timing['failed']} failed)" if timing["failed"] else ""
    return _ms(timing["worst"]) + failed


def _server(one: Found) -> str:
    reported = []
    if one["died"]:
        reported.append(f"DIED {one['died'][:60]}")
    if one["tracebacks"]:
        reported.append(f"{one['tracebacks']} tracebacks")
    if one["output_bytes"]:
        reported.append(f"{one['output_bytes']} bytes printed")
    if one["log_bytes"] > 1 << 20:
        reported.append(f"{one['log_bytes'] / 1e6:.1f} MB of log")
    if one["attacker_error"]:
        reported.append(f"ATTACKER {one['attacker_error'].strip().splitlines()[-1][:60]}")
    return ", ".join(reported)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1e3:.1f} s"


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|---" * len(names) + "|"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
