"""Teacher forcing: our rows go on with the reference's choices, and count where theirs differ.

So one different token is one difference, and not a different future.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...models.lm.generation import Generator, StepHooks
from ...runtime.typing import Array
from .agreement import Choices, Numbers
from .reference_trace import ReferenceStep


@dataclass
class Agreement:
    """What was compared over all steps and rows. `frames` counts complete frames that differ, which
    following the same choices leaves to the rules of delays alone."""

    text: Choices = field(default_factory=Choices)
    codes: list[Choices] = field(default_factory=list)
    hidden: Numbers = field(default_factory=Numbers)
    heads: Numbers | None = field(default_factory=Numbers)
    frames: int = 0


class TeacherForcing(StepHooks):
    """One row's hooks: they return the reference's choices of the step in `recorded`."""

    recorded: ReferenceStep

    def __init__(self, agreement: Agreement, row: int) -> None:
        self._agreement, self._row = agreement, row

    def choose_text(self, token: int) -> int:
        recorded, row = self.recorded, self._row
        self._agreement.text.add(recorded.text_scores[row], token, int(recorded.text[row]))
        return int(recorded.next_text[row])

    def makes_audio(self) -> bool:
        return bool((self.recorded.next_codes[self._row] >= 0).any())

    def choose_audio(self, codes: Array) -> Array:
        """After a difference the rest of a frame hangs on another code, and is not counted."""
        if self.makes_audio():
            recorded, row = self.recorded, self._row
            drawn = zip(self._agreement.codes, recorded.code_scores[row], codes, strict=True)
            for (choices, scores, ours), reference in zip(drawn, recorded.codes[row], strict=True):
                if not choices.add(scores, int(ours), int(reference)):
                    break
        chosen: Array = self.recorded.next_codes[self._row]
        return chosen


class SideBySide:
    """A generator of ours with its rows' hooks, fed what the reference was fed."""

    def __init__(
        self, generator: Generator, rules: Sequence[TeacherForcing], agreement: Agreement
    ) -> None:
        self._generator, self._rules, self._agreement = generator, rules, agreement

    def step(self, recorded: ReferenceStep, codes: Array, active: Array) -> None:
        """Takes the step that was recorded, of the rows that were active in it."""
        for rules in self._rules:
            rules.recorded = recorded
        made = self._generator.step(codes, active)
        agreement, batch = self._agreement, len(codes)
        agreement.frames += int((made.frame[active] != recorded.frame[active]).any(-1).sum())
        if made.hidden is not None:
            hidden = np.asarray(made.hidden)[:: self._generator.width]
            agreement.hidden.add(recorded.hidden[:batch][active], hidden[:batch][active])
        if made.extra_heads is not None and agreement.heads is not None:
            agreement.heads.add(recorded.heads[active], made.extra_heads[active])
