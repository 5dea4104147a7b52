"""What a server held, as tables of markdown."""

from collections.abc import Iterator, Sequence
from typing import Any

HEAD = (
    "streams",
    "answers",
    "lag p50",
    "p95",
    "p99",
    "sound to word p50",
    "p99",
    "processors",
    "used by others",
    "memory",
    "streams whose words differ",
    "cut off",
)


def as_markdown(found: dict[str, Any]) -> str:
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{found['model']} on {found['processors']} processors, {found['answers']} of "
        f"{found['seconds']:g} s a stream; load before: {found['load_before']:.2f}"
    )
    yield ""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    for level in found["levels"]:
        yield f"| {' | '.join(_cells(level))} |"
    yield ""
    yield f"in real time: {found['most']} streams"
    crowded = found["crowded"]
    if crowded is None:
        return
    refused = crowded["refused"]
    yield ""
    yield f"With {len(refused)} more than there are slots, which get {_answers(refused)}:"
    yield ""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    yield f"| {' | '.join(_cells(crowded))} |"


def _answers(refused: Sequence[Sequence[str]]) -> str:
    """Each different answer, with how many had it."""
    reported = [", then ".join(one) for one in refused]
    return "; ".join(f"{answer} ({reported.count(answer)})" for answer in dict.fromkeys(reported))


def _cells(level: dict[str, Any]) -> Iterator[str]:
    yield str(level["streams"])
    yield str(level["answers"])
    yield from _times(level["lag"])
    sound = level["sound_to_word"]
    yield from _times((sound[0], sound[-1]) if sound else ("", ""))
    yield f"{level['cpu']:.2f}"
    yield f"{level['others']:.2f}"
    yield f"{level['resident_mb']:.0f} MB"
    yield str(level["differing"])
    yield str(level["failed"])


def _times(seconds: Sequence[float | str]) -> Iterator[str]:
    for one in seconds:
        yield one if isinstance(one, str) else f"{1e3 * one:.0f} ms"
