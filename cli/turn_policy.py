"""The end of a turn as the command line has it."""

from ..models import TurnPolicy


def turn_policy(
    *,
    horizon: float | None,
    threshold: float | None,
    hysteresis: float | None,
    min_words: int | None,
    hold: float | None,
) -> TurnPolicy | None:
    """The policy of the options that were given; None where none was.

    Raises UsageError for values out of range.
    """
    wishes = {
        "horizon": horizon,
        "threshold": threshold,
        "hysteresis": hysteresis,
        "min_words": min_words,
        "hold": hold,
    }
    given = {name: value for name, value in wishes.items() if value is not None}
    return TurnPolicy(**given) if given else None  # type: ignore[arg-type]
