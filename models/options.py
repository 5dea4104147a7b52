"""Parameters of a stream: one range for Python, commands and protocols; sampling parameters."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypedDict

from ..runtime.errors import UsageError
from .state import Integer, Nullable, Number, Record


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
        """Whether a value is in the range; NaN and booleans are not numbers."""
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
    **dict.fromkeys(("temperature", "text_temperature", "audio_temperature"), TEMPERATURE),
    **dict.fromkeys(("top_k", "text_top_k", "text_topk", "audio_topk"), CANDIDATES),
    **dict.fromkeys(("seed", "text_seed", "audio_seed"), SEED),
    **dict.fromkeys(("padding_between", "initial_padding"), PADDING),
    **dict.fromkeys(("max_padding", "final_padding"), PADDING),
    **dict.fromkeys(("max_tail", "watchdog"), SECONDS),
    "padding_bonus": Range(-2, 2),
    "cfg_coef": Range(-10, 10),
}
"""By the names that they have in Python and in protocols."""


def check_parameters(**given: object) -> None:
    """Raise UsageError for a parameter out of its range; None means not given."""
    for name, value in given.items():
        if value is not None and not PARAMETERS[name].has(value):
            raise UsageError(f"{name} {str(value)[:20]}: give {PARAMETERS[name]}")


@dataclass(frozen=True)
class SamplingParams:
    """How a row's tokens are sampled: `temperature` and `top_k` of codes, the same of text, and the
    seed. Temperature 0 takes the best token, `top_k` 0 considers all.

    Raises UsageError for a value out of range.
    """

    temperature: float = 0.0
    text_temperature: float = 0.0
    top_k: int = 0
    text_top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_parameters(
            temperature=self.temperature,
            text_temperature=self.text_temperature,
            top_k=self.top_k,
            text_top_k=self.text_top_k,
            seed=self.seed,
        )

    FIELDS: ClassVar = Record(
        {
            "temperature": Number(0),
            "text_temperature": Number(0),
            "top_k": Integer(),
            "text_top_k": Integer(),
            "seed": Nullable(Integer(0, 2**63 - 1)),
        }
    )

    def save(self) -> dict[str, Any]:
        """Return what a stream state holds, as `FIELDS` says."""
        return {
            "temperature": float(self.temperature),
            "text_temperature": float(self.text_temperature),
            "top_k": int(self.top_k),
            "text_top_k": int(self.text_top_k),
            "seed": None if self.seed is None else int(self.seed),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """Return what `save` was called on."""
        return cls(**saved)


class SamplingKwargs(TypedDict, total=False):
    """`SamplingParams` as keyword arguments; None or nothing is the model's own default, and a
    random seed."""

    temperature: float | None
    text_temperature: float | None
    top_k: int | None
    text_top_k: int | None
    seed: int | None
