"""One translation, whichever row of a batch steps it.

The rules are those of moshi run_inference.py for models of the type `hibiki`: the end of the audio
has codes of its own, and silence goes on after it until the model's text ends.
"""

import math
from typing import Any

import numpy as np

from ...runtime.typing import Array
from ..lm.generation import StepOutput
from ..options import SamplingParams
from ..row_batch import RowBatch
from ..state import Field, Flag, Integer, Part
from .model import SpeechModel
from .task import Settings, SpeechRow, Trace

TAIL_SECONDS = 30.0
"""By how much a translation may go on for longer than it has listened."""


class HibikiRow(SpeechRow):
    """One translation: samples in; `Audio`, `Text` and `Word` out, for some time after the end of
    the audio too. `complete` says whether the model has said all that it had to."""

    complete: bool

    def __init__(
        self,
        batch: RowBatch[Any],
        model: SpeechModel,
        settings: Settings,
        trace: Trace | None = None,
        max_tail: float | None = None,
    ) -> None:
        self.max_tail = max_tail
        super().__init__(batch, model, settings, trace)

    def end(self) -> None:
        """The end of the audio, less what does not fill a frame: what is still to be said is said,
        until the model ends or `max_tail` seconds more are made."""
        heard = self._frames + self.ear.waiting
        if heard and not self.ended:
            self._unmarked, self._left = True, self._tail_frames(heard)
        super().end()

    def break_off(self) -> None:
        self._unmarked, self._left = False, 0
        self.ended = True
        super().break_off()

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now, those after the end of the audio too."""
        tail = 0 if self.complete else self._left
        return self.ear.waiting + self._unmarked + tail

    @property
    def ready(self) -> bool:
        return super().ready or self._marks

    def prepare(self) -> None:
        """Silence goes on after the end of the audio."""
        if self._left > 0 and not (self.ear.waiting or self._unmarked or self.complete):
            self._left -= 1
            self.ear.push(np.zeros(self.model.frame_size, np.float32))

    def next(self) -> Array:
        """The end of the audio has codes of its own."""
        if not self._marks:
            return super().next()
        self._unmarked = False
        codes = self._spec.n_q - self._spec.dep_q
        return self._note(np.full(codes, self.model.mimi.cardinality))

    def made(self, made: StepOutput) -> Array | None:
        """An end of text before the end of the audio is none."""
        codes = super().made(made)
        heard_all = self.ended and not (self.ear.waiting or self._unmarked)
        if codes is not None and heard_all and self._token == self.model.tokenizer.eos_id():
            self.complete = True
        return codes

    def forget(self) -> None:
        super().forget()
        self.complete = self._unmarked = False
        self._left = 0

    @staticmethod
    def fields(model: SpeechModel) -> Part:
        tail: dict[str, Field] = {
            "complete": Flag(),
            "tail_frames": Integer(),
            "end_waits": Flag(),
        }
        return SpeechRow.fields(model) | Part(tail)

    def save(self) -> dict[str, Any]:
        tail = {
            "complete": self.complete,
            "tail_frames": self._left,
            "end_waits": self._unmarked,
        }
        return {**super().save(), **tail}

    def load(self, saved: dict[str, Any], drawing: SamplingParams | None = None) -> None:
        super().load(saved, drawing)
        self.complete, self._left = saved["complete"], saved["tail_frames"]
        self._unmarked = saved["end_waits"]

    @property
    def _marks(self) -> bool:
        """Whether the next step is told that the audio has ended."""
        return self._unmarked and not self.ear.waiting

    def _tail_frames(self, heard: int) -> int:
        rate, seconds = self.model.frame_rate, self.max_tail
        return math.ceil((heard / rate + TAIL_SECONDS if seconds is None else seconds) * rate)
