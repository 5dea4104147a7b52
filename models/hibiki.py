"""Hibiki: speech in another language, as the speaker goes on, with its text.

The rules are those of moshi run_inference.py for models of the type `hibiki`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ..runtime.audio import AudioSource
from ..runtime.errors import UsageError
from ..runtime.manifest import Family
from .drawing import Guidance
from .events import Event, Word
from .speech_model import SpeechModel
from .speech_stream import Settings, SpeechStream, Trace

Array = np.ndarray[Any, Any]
CONDITIONER = "description"
WANTED, UNWANTED = "very_good", "very_bad"
"""How well the speaker's voice is kept, of what is made and of what guidance leads away from."""

TAIL_SECONDS = 30.0
"""By how much a translation may go on for longer than it has listened."""


@dataclass(frozen=True, eq=False)
class Translation:
    """Speech float32 `[n]` at `sample_rate`, its text and its words, with their times in it.

    `complete` is False where it was cut since the model did not end by itself; `seed` makes it
    again.
    """

    pcm: Array
    sample_rate: int
    text: str
    words: tuple[Word, ...]
    complete: bool
    seed: int | None


class HibikiStream(SpeechStream):
    """Speech in; `Audio`, `Text` and `Word` out. Belongs to one thread at a time.

    `complete` says whether the model has said all that it had to.
    """

    complete: bool

    def __init__(
        self,
        model: "Hibiki",
        settings: Settings,
        trace: Trace | None = None,
        max_tail: float | None = None,
    ) -> None:
        self.max_tail = max_tail
        super().__init__(model, settings, trace)

    def finish(self) -> Iterator[Event]:
        """The end of the audio, less what does not fill a frame: what is still to be said, as it is
        made, until the model ends or `max_tail` seconds more are made. Goes on where it was
        left."""
        if self._frames and not self._ended:
            self._ended, self._left = True, self._tail_frames()
            yield from self._hear(
                np.full(self._spec.n_q - self._spec.dep_q, self.model.mimi.cardinality)
            )
        silence = np.zeros((1, self.model.frame_size), np.float32)
        while self._left > 0 and not self.complete:
            self._left -= 1
            yield from self._hear(self._encoder.encode(silence)[:, 0])
        yield from self.break_off()

    def break_off(self) -> list[Event]:
        """Ends here, with nothing more made: the last word."""
        self._left = 0
        return super().break_off()

    def fork(self) -> Self:
        """Another stream that goes on from here by itself."""
        other = super().fork()
        other.max_tail = self.max_tail
        return other

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {**super().save(), "complete": self.complete, "left": self._left}

    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Goes on where a saved stream stood, drawing as it did, or from now on by another seed.

        Raises UsageError if it is of another model.
        """
        super().load(saved, seed=seed)
        self.complete, self._left = saved["complete"], saved["left"]

    def _begin(self) -> None:
        super()._begin()
        self.complete = False
        self._left = 0

    def _tail_frames(self) -> int:
        longest = self.heard_seconds + TAIL_SECONDS if self.max_tail is None else self.max_tail
        return math.ceil(longest * self.model.frame_rate)

    def _speak(self, text: int, codes: Array) -> list[Event]:
        """Takes a complete frame; an end of text before the end of the audio is none."""
        if self._ended and text == self.model.tokenizer.eos_id():
            self.complete = True
        return super()._speak(text, codes)


class Hibiki(SpeechModel):
    """A speech translator, loaded. May be shared by threads; each of its streams belongs to one at
    a time."""

    family: ClassVar[Family] = "hibiki"

    def translate(
        self,
        audio: Array | AudioSource,
        *,
        channel: int | None = None,
        cfg_coef: float = 1.0,
        temp: float | None = None,
        temp_text: float | None = None,
        seed: int | None = None,
        max_tail: float | None = None,
    ) -> Translation:
        """Translates a file, or samples float32 `[n]` at `sample_rate`; for the rest see `stream`.

        Raises AudioError where it cannot be read or does not fill a frame.
        """
        stream = self.stream(
            cfg_coef=cfg_coef, temp=temp, temp_text=temp_text, seed=seed, max_tail=max_tail
        )
        said = self.hear(stream, audio, channel)
        return Translation(
            said.pcm, self.sample_rate, said.text, tuple(said.words), stream.complete, stream.seed
        )

    def stream(
        self,
        *,
        cfg_coef: float = 1.0,
        temp: float | None = None,
        temp_text: float | None = None,
        seed: int | None = None,
        max_tail: float | None = None,
        trace: Trace | None = None,
    ) -> HibikiStream:
        """One independent stream.

        `cfg_coef` leads it away from speech that is unlike the speaker's, at twice the cost; 1
        does without. `temp` and `temp_text` replace the model's own temperatures of codes and text
        (0 takes the best), `seed` makes draws repeat. After the end of the audio it speaks for at
        most `max_tail` seconds: as long as it has heard and 30 more, unless given. `trace` is
        filled with codes and tokens.

        Raises UsageError for guidance that the model lacks, or a value out of range.
        """
        if max_tail is not None and not (math.isfinite(max_tail) and max_tail >= 0):
            raise UsageError(f"a tail of {max_tail} s: give 0 or more")
        settings = self._settings(cfg_coef, temp, temp_text, seed)
        return HibikiStream(self, settings, trace, max_tail)

    def _settings(
        self, cfg_coef: float, temp: float | None, temp_text: float | None, seed: int | None
    ) -> Settings:
        drawing = self.drawing(temp, temp_text, seed)
        if not math.isfinite(cfg_coef):
            raise UsageError(f"guidance by {cfg_coef}: give a number; 1 does without")
        model = self.language_model
        if CONDITIONER not in model.spec.conditioners:
            if cfg_coef != 1:
                raise UsageError(
                    f"guidance by {cfg_coef:g}: {self.bundle.manifest.name} has no {CONDITIONER} "
                    "to be guided by; leave --cfg-coef (cfg_coef) at 1"
                )
            return Settings(drawing, model.condition())
        conditions = model.condition({CONDITIONER: WANTED})
        if cfg_coef == 1:
            return Settings(drawing, conditions)
        null = model.condition({CONDITIONER: UNWANTED})
        return Settings(drawing, conditions, Guidance(cfg_coef, null))
