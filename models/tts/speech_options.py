"""How a text is spoken: what may be chosen for each, apart from the voice."""

from dataclasses import dataclass
from typing import TypedDict

from ..options import check_parameters


@dataclass(frozen=True)
class SpeechOptions:
    """Options of a text; defaults are those of moshi run_tts.py. Paddings are in steps of 80 ms.

    `cfg_coef` is the guidance to the voice and the text; None is 2, or no guidance for a model that
    has neither a table of it nor a voice. `temperature` is that of text and codes, 0 takes the
    best token; like `top_k` (of codes) and `text_top_k` it is the bundle's own unless given.

    `padding_between` is the shortest pause after a word, `max_padding` the longest that the model
    may choose. `padding_bonus`, from -2 to 2, makes speech slower, or faster if negative.
    `initial_padding` comes before the first word, `final_padding` after the last. Each padding is
    at most a minute. Raises UsageError for a value out of range.
    """

    cfg_coef: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    text_top_k: int | None = None
    seed: int | None = None
    padding_between: int = 1
    padding_bonus: float = 0.0
    initial_padding: int = 2
    max_padding: int = 8
    final_padding: int = 4

    def __post_init__(self) -> None:
        check_parameters(
            cfg_coef=self.cfg_coef,
            temperature=self.temperature,
            top_k=self.top_k,
            text_top_k=self.text_top_k,
            seed=self.seed,
            padding_between=self.padding_between,
            padding_bonus=self.padding_bonus,
            initial_padding=self.initial_padding,
            max_padding=self.max_padding,
            final_padding=self.final_padding,
        )


class SpeechKwargs(TypedDict, total=False):
    """`SpeechOptions` as keyword arguments."""

    cfg_coef: float | None
    temperature: float | None
    top_k: int | None
    text_top_k: int | None
    seed: int | None
    padding_between: int
    padding_bonus: float
    initial_padding: int
    max_padding: int
    final_padding: int
