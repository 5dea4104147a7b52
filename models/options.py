"""How a row's tokens are drawn, and guided."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypedDict

from .lm.language_model import Conditions
from .parameters import check_parameters
from .state import Integer, Maybe, Number, Part


@dataclass(frozen=True)
class SamplingParams:
    """How a row's tokens are drawn: temperatures, 0 taking the best; candidates, 0 for all; and the
    seed that makes them repeat. Raises UsageError for a value out of range."""

    temp: float = 0.0
    temp_text: float = 0.0
    top_k: int = 0
    top_k_text: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_parameters(**vars(self))

    FIELDS: ClassVar = Part(
        {
            "temperature": Number(0),
            "text_temperature": Number(0),
            "top_k": Integer(),
            "text_top_k": Integer(),
            "seed": Maybe(Integer(0, 2**63 - 1)),
        }
    )

    def save(self) -> dict[str, Any]:
        """What a saved stream says of it, as `FIELDS` says."""
        return {
            "temperature": float(self.temp),
            "text_temperature": float(self.temp_text),
            "top_k": int(self.top_k),
            "text_top_k": int(self.top_k_text),
            "seed": None if self.seed is None else int(self.seed),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """The inverse of `save`."""
        return cls(
            temp=saved["temperature"],
            temp_text=saved["text_temperature"],
            top_k=saved["top_k"],
            top_k_text=saved["text_top_k"],
            seed=saved["seed"],
        )


class SamplingKwargs(TypedDict, total=False):
    """What is drawn otherwise than a repository says: temperatures of codes and of text, 0 taking
    the best; candidates of both, 0 for all; and the seed, which is at random unless given."""

    temp: float | None
    temp_text: float | None
    top_k: int | None
    top_k_text: int | None
    seed: int | None


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: scores are `null + (conditioned - null) * coefficient`.

    The null half has other conditions, reads no tokens up to `masked_until` steps past each
    stream's delay, and with `no_text` no text at all; then text is scored without guidance. Raises
    UsageError for a coefficient out of range.
    """

    coefficient: float
    null: Conditions | None = None
    masked_until: int | None = None
    no_text: bool = False

    def __post_init__(self) -> None:
        check_parameters(cfg_coef=self.coefficient)
