"""One stream of a model that hears speech and speaks, whichever row of a batch steps it.

The framing is that of moshi run_inference.py: whole frames only.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...runtime.exclusive import exclusive
from ...runtime.typing import Array
from ..events import Audio, Event
from ..lm.generation import Generator, StepOutput
from ..lm.language_model import Conditions, Guidance
from ..mimi.frame_queue import FrameQueue
from ..options import SamplingParams
from ..row_batch import RowBatch, StreamRow
from ..state import Flag, GraphState, Integer, Part
from ..text.detokenizer import TimedDetokenizer

if TYPE_CHECKING:
    from .model import SpeechModel


@dataclass(frozen=True)
class Settings:
    """How a stream is generated."""

    drawing: SamplingParams
    conditions: Conditions | None = None
    guidance: Guidance | None = None


@dataclass
class Trace:
    """What a stream read and made, frame by frame, for whoever wants to compare it: codes
    `[n_q - dep_q]` that it heard, text tokens, and codes `[dep_q]` that it spoke."""

    codes: list[Array] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    audio: list[Array] = field(default_factory=list)


class SpeechRow(StreamRow):
    """Samples in; `Audio`, `Text` and `Word` out. `seed` makes its draws repeat."""

    seed: int | None
    _ear: FrameQueue
    _text: TimedDetokenizer
    _frames: int

    def __init__(
        self,
        batch: RowBatch[Any],
        model: "SpeechModel",
        settings: Settings,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(batch)
        self.model, self.settings, self._trace = model, settings, trace
        self._spec = model.language_model.spec
        self.forget()

    @exclusive
    def feed(self, pcm: Array) -> None:
        """Takes float32 `[n]` at the model's rate, any n; raises UsageError after `end`."""
        self._check_open()
        self._ear.push(pcm)

    @exclusive
    def end(self) -> None:
        """The end of the audio, less what does not fill a frame."""
        self._ear.cut()
        self.ended = True
        self.close()

    def break_off(self) -> None:
        """Ends here, with nothing more made."""
        self._ear.clear()
        self.end()

    @property
    def ear(self) -> FrameQueue:
        return self._ear

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now."""
        return self._ear.waiting

    @property
    def done(self) -> bool:
        return self.ended and not self.waiting

    @property
    def ready(self) -> bool:
        return self._ear.ahead > 0

    @property
    def heard_seconds(self) -> float:
        """How much was heard, in whole frames."""
        return self._frames / self.model.frame_rate

    @property
    def spoken_seconds(self) -> float:
        """How much was spoken, from which the times of words count."""
        return self._text.seconds

    def forget(self) -> None:
        tokens = self._spec.tokens
        self._ear = FrameQueue(self.model.frame_size, self._spec.n_q - self._spec.dep_q)
        self._text = TimedDetokenizer(
            self.model.tokenizer,
            self.model.frame_rate,
            padding=tokens.text_padding,
            boundary=tokens.text_end_of_padding,
        )
        self.seed = self.settings.drawing.seed
        self._frames = 0

    def begin(self) -> None:
        settings = self.settings
        self.batch.generator.begin(
            self.held_place,
            settings.drawing,
            conditions=settings.conditions,
            guidance=settings.guidance,
        )

    def next(self) -> Array:
        return self._note(self._ear.next())

    def made(self, made: StepOutput) -> Array | None:
        frame = made.frame[self.held_place]
        if self._ear.doubled or frame[0] == self._spec.tokens.ungenerated:
            return None
        codes: Array = frame[1:]
        self._token = int(frame[0])
        if self._trace is not None:
            self._trace.text.append(self._token)
            self._trace.audio.append(codes)
        return codes

    def spoke(self, pcm: Array) -> None:
        self._events += [Audio(pcm), *self._text.push(self._token)]

    def last(self) -> list[Event]:
        return [*self._text.flush()]

    @staticmethod
    def fields(model: "SpeechModel") -> Part:
        """What is saved, of such a model."""
        spec, mimi = model.language_model.spec, model.mimi
        codebooks = spec.n_q - spec.dep_q
        return Part(
            {
                "encoder": GraphState(mimi.open("encode").states),
                "decoder": GraphState(mimi.open("decode").states),
                "language_model": Generator.fields(model.language_model),
                "frame_queue": FrameQueue.fields(model.frame_size, codebooks, mimi.cardinality),
                "text": TimedDetokenizer.FIELDS,
                "frame": Integer(),
                "ended": Flag(),
                "closed": Flag(),
            }
        )

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, as `fields` says, to be loaded by another one of the same
        weights."""
        self.check_whole()
        assert self.batch.encoder is not None
        assert self.batch.decoder is not None
        return {
            "encoder": self.batch.encoder.save(self.held_place),
            "decoder": self.batch.decoder.save(self.held_place),
            "language_model": self.batch.generator.save(self.held_place),
            "frame_queue": self._ear.save(),
            "text": self._text.save(),
            "frame": self._frames,
            "ended": self.ended,
            "closed": self._closed,
        }

    @exclusive
    def load(self, saved: dict[str, Any], drawing: SamplingParams | None = None) -> None:
        """Goes on where a saved one stood, drawing as it did, or from now on by `drawing`."""
        assert self.batch.encoder is not None
        assert self.batch.decoder is not None
        self.batch.generator.load(self.held_place, saved["language_model"], drawing=drawing)
        self.error = None
        self.forget()
        self.batch.encoder.load(self.held_place, saved["encoder"])
        self.batch.decoder.load(self.held_place, saved["decoder"])
        self._ear.load(saved["frame_queue"])
        self._text.load(saved["text"])
        self._frames, self.ended = saved["frame"], saved["ended"]
        self._closed = saved["closed"]
        sampling = SamplingParams.load(saved["language_model"]["sampling"])
        self.seed = sampling.seed if drawing is None else drawing.seed

    def _note(self, codes: Array) -> Array:
        """Codes of a step, counted once."""
        if not self._ear.doubled:
            self._frames += 1
            if self._trace is not None:
                self._trace.codes.append(codes)
        return codes
