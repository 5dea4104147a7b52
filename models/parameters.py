"""What a stream may be asked for: the range of every parameter, checked here for every door."""

from dataclasses import dataclass
from numbers import Integral, Real

from ..runtime.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The least and the most that a parameter may be; `whole` for integers."""

    least: float
    most: float
    whole: bool = False

    def __str__(self) -> str:
        kind = "an integer" if self.whole else "a number"
        return f"{kind} from {_short(self.least)} to {_short(self.most)}"

    def has(self, value: object) -> bool:
        """Whether it may be this value; NaN and booleans are no numbers."""
        kind = Integral if self.whole else Real
        return isinstance(value, kind) and not isinstance(value, bool) and self._spans(value)

    def _spans(self, value: Real) -> bool:
        return bool(self.least <= value <= self.most)  # type: ignore[operator]


def _short(limit: float) -> str:
    return f"{limit:g}" if limit < 1 << 31 else f"2^{int(limit + 1).bit_length() - 1} - 1"


TEMPERATURE = Range(0, 5)
CANDIDATES = Range(0, (1 << 31) - 1, whole=True)
SEED = Range(0, (1 << 63) - 1, whole=True)
PADDING = Range(0, 750, whole=True)
"""In steps, of which a minute has 750."""
SECONDS = Range(0, 24 * 3600)

PARAMETERS = {
    **dict.fromkeys(("temp", "temp_text", "temperature"), TEMPERATURE),
    **dict.fromkeys(("text_temperature", "audio_temperature"), TEMPERATURE),
    **dict.fromkeys(("top_k", "top_k_text", "text_topk", "audio_topk"), CANDIDATES),
    **dict.fromkeys(("seed", "text_seed", "audio_seed"), SEED),
    **dict.fromkeys(("padding_between", "initial_padding"), PADDING),
    **dict.fromkeys(("max_padding", "final_padding"), PADDING),
    **dict.fromkeys(("max_tail", "watchdog"), SECONDS),
    "padding_bonus": Range(-2, 2),
    "cfg_coef": Range(-10, 10),
}
"""By the names that they have in Python, on the command line and in protocols."""


def check_parameters(**given: object) -> None:
    """Raises UsageError for a parameter out of its range; None is not given."""
    for name, value in given.items():
        if value is not None and not PARAMETERS[name].has(value):
            raise UsageError(f"{name} {str(value)[:20]}: give {PARAMETERS[name]}")
