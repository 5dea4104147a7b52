"""A text prompt: the model may say nothing else until it has said it.

The rule is that of `PromptHook` in Kyutai's scripts/stt_from_file_with_prompt_pytorch.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..lm.generation import StepHooks

Array = np.ndarray[Any, Any]


class TextPrompt(StepHooks):
    """Constrains text logits to the paddings and the next token of the prompt; to the paddings
    alone at a step that is not `heard`."""

    heard = True

    def __init__(self, tokens: Sequence[int], paddings: tuple[int, int]) -> None:
        self._tokens = list(tokens)
        self._paddings = list(paddings)

    def constrain(self, logits: Array) -> Array:
        """`logits [text_card]` with all else at minus infinity, until the prompt is used up."""
        if not self._tokens:
            return logits
        allowed = [*self._paddings, *self._tokens[:1]] if self.heard else self._paddings
        constrained = np.full_like(logits, -np.inf)
        constrained[allowed] = logits[allowed]
        return constrained

    def choose_text(self, token: int) -> int:
        """Notes what is said, and leaves it."""
        if self._tokens and token == self._tokens[0] and token not in self._paddings:
            del self._tokens[0]
        return token

    @property
    def remaining(self) -> list[int]:
        """What is yet to be said."""
        return list(self._tokens)
