"""How the tokens of a row are sampled."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..options import check_parameters
from ..state import Integer, Nullable, Number, Record


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
        check_parameters(**vars(self))

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
