"""Hibiki: speech in another language, as the speaker goes on, with its text."""

from dataclasses import dataclass, field
from typing import ClassVar, Unpack

from ...runtime.audio import AudioSource, Pcm
from ...runtime.errors import UsageError
from ...runtime.typing import Array
from ..batch import Stream, TokenTrace
from ..events import Word
from ..families import HIBIKI, Family
from ..lm.language_model import Conditions, Guidance
from ..options import SamplingKwargs, check_parameters
from .model import SpeechModel
from .task import TranslationTask

CONDITIONER = "description"
WANTED, UNWANTED = "very_good", "very_bad"
"""How well the speaker's voice is kept, of what is made and of what guidance leads away from."""


@dataclass(frozen=True, eq=False)
class Translation:
    """Speech float32 `[n]` at `sample_rate`, its text and its words, with their times in it.

    `complete` is False where it was cut since the model did not end by itself; `seed` makes it
    again.
    """

    pcm: Pcm = field(repr=False)
    sample_rate: int
    text: str
    words: tuple[Word, ...]
    complete: bool
    seed: int | None


class Hibiki(SpeechModel):
    """A speech translator, loaded. May be shared by threads; each of its streams belongs to one at
    a time."""

    family: ClassVar[Family] = HIBIKI

    def translate(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        cfg_coef: float = 1.0,
        max_tail: float | None = None,
        **sampling: Unpack[SamplingKwargs],
    ) -> Translation:
        """Translate a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        For the rest see `stream`. Raises AudioError if the audio cannot be read or does not fill a
        frame.
        """
        stream = self.stream(cfg_coef=cfg_coef, max_tail=max_tail, **sampling)
        made, task = self.transcode(stream, audio, sample_rate, channel), stream.task
        return Translation(
            made.pcm, self.sample_rate, made.text, tuple(made.words), task.complete, task.seed
        )

    def stream(
        self,
        *,
        cfg_coef: float = 1.0,
        max_tail: float | None = None,
        trace: TokenTrace | None = None,
        **sampling: Unpack[SamplingKwargs],
    ) -> Stream[TranslationTask]:
        """One independent stream.

        `cfg_coef` leads it away from speech that is unlike the speaker's, at twice the cost; 1
        does without. After the end of the audio it speaks for at most `max_tail` seconds: as long
        as the audio and 30 more, unless given. `trace` is filled with codes and tokens. The rest
        are `SamplingKwargs`, in place of the model's own sampling.

        Raises UsageError for guidance that the model lacks, or a value out of range.
        """
        task = self.task(cfg_coef=cfg_coef, max_tail=max_tail, trace=trace, **sampling)
        return Stream(self.batch, task)

    def task(
        self,
        *,
        cfg_coef: float = 1.0,
        max_tail: float | None = None,
        trace: TokenTrace | None = None,
        **sampling: Unpack[SamplingKwargs],
    ) -> TranslationTask:
        """What a row of a batch is to do; options and errors as those of `stream`."""
        check_parameters(max_tail=max_tail, cfg_coef=cfg_coef)
        conditions, guidance = self._conditions(cfg_coef)
        return TranslationTask(
            self,
            self.sampling_params(**sampling),
            conditions=conditions,
            guidance=guidance,
            trace=trace,
            max_tail=max_tail,
        )

    def _conditions(self, cfg_coef: float) -> tuple[Conditions, Guidance | None]:
        model = self.language_model
        if CONDITIONER not in model.spec.conditioners:
            if cfg_coef != 1:
                raise UsageError(
                    f"guidance by {cfg_coef:g}: {self.name} has no {CONDITIONER} to be guided by; "
                    "leave --cfg-coef (cfg_coef) at 1"
                )
            return model.condition(), None
        conditions = model.condition({CONDITIONER: WANTED})
        if cfg_coef == 1:
            return conditions, None
        return conditions, Guidance(cfg_coef, model.condition({CONDITIONER: UNWANTED}))
