"""Hibiki: speech in another language, as the speaker goes on, with its text."""

from dataclasses import dataclass
from typing import ClassVar, Self, Unpack

from ...runtime.audio import AudioSource
from ...runtime.errors import UsageError
from ...runtime.typing import Array
from ..events import Word
from ..families import HIBIKI, Family
from ..lm.language_model import Guidance
from ..options import SamplingKwargs, check_parameters
from ..row_batch import RowBatch
from .hibiki_task import HibikiRow
from .model import SpeechModel
from .stream import SpeechStream
from .task import Settings, SpeechRow, Trace

CONDITIONER = "description"
WANTED, UNWANTED = "very_good", "very_bad"
"""How well the speaker's voice is kept, of what is made and of what guidance leads away from."""


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
    """Speech in; `Audio`, `Text` and `Word` out. Belongs to one thread at a time."""

    _row: HibikiRow

    def __init__(
        self,
        model: "Hibiki",
        settings: Settings,
        trace: Trace | None = None,
        max_tail: float | None = None,
    ) -> None:
        self._max_tail = max_tail
        super().__init__(model, settings, trace)

    @property
    def complete(self) -> bool:
        """Whether the model has said all that it had to."""
        return self._row.complete

    @property
    def max_tail(self) -> float | None:
        """Seconds for which it speaks on at most, or None."""
        return self._row.max_tail

    @max_tail.setter
    def max_tail(self, seconds: float | None) -> None:
        self._max_tail = self._row.max_tail = seconds

    def fork(self) -> Self:
        """Another stream that goes on from here by itself."""
        other = super().fork()
        other.max_tail = self.max_tail
        return other

    def _begun(self, batch: RowBatch[SpeechRow]) -> HibikiRow:
        return HibikiRow(batch, self.model, self.settings, self._trace, self._max_tail)


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
        **draws: Unpack[SamplingKwargs],
    ) -> Translation:
        """Translate a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        For the rest see `stream`. Raises AudioError if the audio cannot be read or does not fill a
        frame.
        """
        stream = self.stream(cfg_coef=cfg_coef, max_tail=max_tail, **draws)
        said = self.hear(stream, audio, sample_rate, channel)
        return Translation(
            said.pcm, self.sample_rate, said.text, tuple(said.words), stream.complete, stream.seed
        )

    def stream(
        self,
        *,
        cfg_coef: float = 1.0,
        max_tail: float | None = None,
        trace: Trace | None = None,
        **draws: Unpack[SamplingKwargs],
    ) -> HibikiStream:
        """One independent stream.

        `cfg_coef` leads it away from speech that is unlike the speaker's, at twice the cost; 1
        does without. After the end of the audio it speaks for at most `max_tail` seconds: as long
        as it has heard and 30 more, unless given. `trace` is filled with codes and tokens. The rest
        are `SamplingKwargs`, in place of the model's own sampling.

        Raises UsageError for guidance that the model lacks, or a value out of range.
        """
        settings = self.settings(cfg_coef, max_tail, **draws)
        return HibikiStream(self, settings, trace, max_tail)

    def batch(self, rows: int, *, guided: bool = False) -> "HibikiBatch":
        """Up to so many translations, stepped together; `guided` where one may be, by `cfg_coef`:
        then all of them cost twice as much."""
        return HibikiBatch(self, rows, guided=guided)

    def settings(
        self, cfg_coef: float, max_tail: float | None, **draws: Unpack[SamplingKwargs]
    ) -> Settings:
        """How a stream is generated; raises as `stream` does."""
        check_parameters(max_tail=max_tail, cfg_coef=cfg_coef)
        drawing = self.drawing(**draws)
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


class HibikiBatch(RowBatch[SpeechRow]):
    """`rows` translations at most, stepped together. Belongs to one thread at a time."""

    def __init__(self, model: Hibiki, rows: int, *, guided: bool = False) -> None:
        super().__init__(model, rows, guided=guided)
        self.model = model

    def join(
        self,
        *,
        cfg_coef: float = 1.0,
        max_tail: float | None = None,
        trace: Trace | None = None,
        **draws: Unpack[SamplingKwargs],
    ) -> HibikiRow:
        """A new translation, told as `Hibiki.stream` is; raises UsageError as that does, where all
        rows are taken, and for guidance in a batch that is not guided."""
        settings = self.model.settings(cfg_coef, max_tail, **draws)
        row = HibikiRow(self, self.model, settings, trace, max_tail)
        self.add(row)
        return row
