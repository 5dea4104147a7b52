"""Streams of speech to text side by side, and what each of them is told."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.exclusive import exclusive
from ..events import Event, Restart, Word
from ..lm.generation import Generator, StepOutput
from ..mimi.frame_queue import FrameQueue
from ..options import SamplingParams, check_parameters
from ..row_batch import RowBatch, StreamRow
from ..state import Field, Flag, GraphState, Maybe, Part
from .pauses import TurnPolicy
from .task import Heard, Hearing
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .model import SpeechToText

Array = np.ndarray[Any, Any]


class SpeechToTextRow(StreamRow):
    """One stream of a batch: samples in, words and pauses out."""

    def __init__(
        self,
        batch: "SpeechToTextBatch",
        drawing: SamplingParams,
        hearing: Hearing,
        watchdog: Watchdog | None = None,
    ) -> None:
        super().__init__(batch)
        self.hearing = hearing
        self._drawing, self._watchdog = drawing, watchdog

    @exclusive
    def prime(self, audio: Array, *, cut: bool) -> None:
        """Takes an audio prompt, float32 `[n]`, before all else.

        With `cut` its words are left out and times count from the audio that follows.
        """
        self.hearing.prime(audio, cut=cut)

    @exclusive
    def feed(self, pcm: Array) -> None:
        """Takes float32 `[n]` at the model's rate, any n; raises UsageError after `end`."""
        self._check_open()
        self.hearing.push(pcm)

    @exclusive
    def end(self, *, silence: bool = True) -> None:
        """The audio is over; the row is `done` once its frames are stepped. Without the `silence`
        after it, nothing that the model lags behind with is said."""
        if not self.ended:
            if silence:
                self.hearing.end()
            self.ended = True
        self.close()

    @property
    def ear(self) -> FrameQueue:
        return self.hearing.ear

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now."""
        return self.ear.waiting

    @property
    def done(self) -> bool:
        return self.ended and not self.waiting

    @property
    def ready(self) -> bool:
        return self.ear.ahead > 0

    def begin(self) -> None:
        self.batch.generator.begin(self.held_place, self._drawing, self.hearing.prompt)

    def next(self) -> Array:
        return self.hearing.next()

    def made(self, made: StepOutput) -> None:
        watchdog = self._watchdog
        if watchdog is None or self.ended or self.ear.doubled or not self.hearing.is_speech:
            self._events += self.hearing.take(made, self.held_place)
            return
        before = self.hearing.partial
        events = self.hearing.take(made, self.held_place)
        self._events += events
        wrote = self.hearing.partial != before or any(isinstance(one, Word) for one in events)
        if watchdog.stalled(self.ear.pcm, wrote=wrote):
            self.restart()

    def last(self) -> list[Event]:
        return self.hearing.finish()

    def forget(self) -> None:
        self.hearing.reset()
        if self._watchdog is not None:
            self._watchdog.reset()

    @exclusive
    def restart(self) -> None:
        """Makes the model begin anew where the audio stands, with nothing remembered; times go on.

        The last word and `Restart` are found.
        """
        self._events += [*self.hearing.finish(), Restart(self.hearing.seconds)]
        self.hearing.restart()
        self.batch.clear(self.held_place)
        self.begin()

    @staticmethod
    def fields(model: "SpeechToText") -> Part:
        """What is saved, of such a model."""
        own: dict[str, Field] = {
            "encoder": GraphState(model.mimi.open("encode").states),
            "language_model": Generator.fields(model.language_model),
            "watchdog": Maybe(Watchdog.FIELDS),
            "ended": Flag(),
        }
        return Hearing.fields(model) | Part(own)

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, as `fields` says, to be loaded by another one of the same
        weights."""
        self.check_whole()
        assert self.batch.encoder is not None
        return {
            **self.hearing.save(),
            "encoder": self.batch.encoder.save(self.held_place),
            "language_model": self.batch.generator.save(self.held_place),
            "watchdog": None if self._watchdog is None else self._watchdog.save(),
            "ended": self.ended,
        }

    @exclusive
    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where a saved one stood."""
        assert self.batch.encoder is not None
        generator = self.batch.generator
        generator.check(saved["language_model"])
        self.error = None
        self.hearing.load(saved)
        self.batch.encoder.load(self.held_place, saved["encoder"])
        generator.load(self.held_place, saved["language_model"], self.hearing.prompt)
        if self._watchdog is not None:
            self._watchdog.reset()
            if saved["watchdog"] is not None:
                self._watchdog.load(saved["watchdog"])
        self.ended = self._closed = saved["ended"]


class SpeechToTextBatch(RowBatch[SpeechToTextRow]):
    """`rows` streams at most, stepped together. Belongs to one thread at a time."""

    speaks = False

    def __init__(self, model: "SpeechToText", rows: int) -> None:
        super().__init__(model, rows)
        self.model = model

    def join(
        self,
        *,
        prompt: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        heard: Heard | None = None,
        policy: TurnPolicy | None = None,
        watchdog: float | None = None,
        live: bool = False,
        lead: bool = True,
    ) -> SpeechToTextRow:
        """A new stream, told as `SpeechToText.stream` is.

        `live` tells every frame heard (`Step`) and every word as soon as it is whole (`WordHeard`)
        too. `lead=False` puts no silence before the audio, for those who bring their own.

        Raises UsageError as `stream` does, and where all rows are taken.
        """
        model = self.model
        if policy is not None and policy.head >= model.language_model.spec.extra_heads:
            raise UsageError(
                f"{model.bundle.manifest.name} has no extra head that looks {policy.horizon:g} s "
                "ahead; export it with '--extra-heads REPO', such as kyutai/stt-1b-en_fr-candle"
            )
        check_parameters(watchdog=watchdog)
        said_first = model.spell(prompt) if prompt else ()
        hearing = Hearing(model, said_first, heard, policy, live=live, lead=lead)
        guard = Watchdog(watchdog, model.frame_rate) if watchdog else None
        return self.add(
            SpeechToTextRow(self, model.drawing(temperature, seed), hearing, guard),
        )
