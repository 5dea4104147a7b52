"""One stream of a model that hears speech and speaks: audio in, audio and text out.

The framing is that of moshi run_inference.py: whole frames only, and the first one given twice,
since the language model reads its initial tokens instead of the first codes that it is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..runtime.audio import Framer
from ..runtime.errors import UsageError
from .drawing import Drawing, Guidance
from .events import Audio, Event
from .generation import Generator
from .language_model import Conditions
from .saved import check_saved, stamp
from .spoken_text import SpokenText

if TYPE_CHECKING:
    from .speech_model import SpeechModel

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Settings:
    """How a stream is generated."""

    drawing: Drawing
    conditions: Conditions | None = None
    guidance: Guidance | None = None


@dataclass
class Trace:
    """What a stream read and made, frame by frame, for whoever wants to compare it: codes
    `[n_q - dep_q]` that it heard, text tokens, and codes `[dep_q]` that it spoke."""

    codes: list[Array] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    audio: list[Array] = field(default_factory=list)


class SpeechStream:
    """Audio in; `Audio`, `Text` and `Word` out. Belongs to one thread at a time.

    `seed` makes its draws repeat.
    """

    seed: int | None
    _frames: int

    def __init__(
        self, model: "SpeechModel", settings: Settings, trace: Trace | None = None
    ) -> None:
        self.model, self.settings, self._trace = model, settings, trace
        self._spec = model.language_model.spec
        self._encoder = model.mimi.stream("encode", self._spec.n_q - self._spec.dep_q)
        self._decoder = model.mimi.stream("decode")
        self._generator = self._open_generator(guided=settings.guidance is not None)
        self._begin()

    def feed(self, pcm: Array) -> list[Event]:
        """Takes float32 `[n]` at the model's rate, any n; returns what was spoken by it.

        Raises UsageError once the stream was flushed.
        """
        if self._ended:
            raise UsageError("this stream has ended; reset it, or open another one")
        frames = self._framer.push(pcm)
        return [event for codes in self._encoder.encode(frames).T for event in self._hear(codes)]

    def finish(self) -> Iterator[Event]:
        """The end of the audio, less what does not fill a frame: what is still to be said, as it is
        made."""
        self._ended = True
        yield from self.break_off()

    def flush(self) -> list[Event]:
        """All of `finish` at once."""
        return list(self.finish())

    def break_off(self) -> list[Event]:
        """Ends here, with nothing more made: the last word."""
        self._ended = True
        return [*self._text.flush()]

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._encoder.reset()
        self._decoder.reset()
        self._begin()

    def fork(self) -> Self:
        """Another stream that goes on from here by itself."""
        other = type(self)(self.model, self.settings)
        other.load(self.save())
        return other

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {
            **stamp(self.model.bundle, self.model.family),
            "encoder": self._encoder.save(),
            "decoder": self._decoder.save(),
            "generator": self._generator.save(0),
            "pending": self._framer.waiting.copy(),
            "text": self._text.save(),
            "frames": self._frames,
            "ended": self._ended,
        }

    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Goes on where a saved stream stood, drawing as it did, or from now on by another seed.

        Raises UsageError if it is of another model.
        """
        check_saved(saved, self.model.bundle, self.model.family)
        generator, drawing = saved["generator"], None
        if seed is not None:
            drawing = replace(Drawing(**generator["drawing"]), seed=seed)
        if generator["guidance"] is not None and not self._generator.guided:
            self._generator = self._open_generator(guided=True)
        self._begin()
        self._generator.load(0, generator, drawing=drawing)
        self._encoder.load(saved["encoder"])
        self._decoder.load(saved["decoder"])
        self._framer.push(saved["pending"])
        self._text.load(saved["text"])
        self._frames, self._ended = saved["frames"], saved["ended"]
        self.seed = generator["drawing"]["seed"] if seed is None else seed

    def _open_generator(self, *, guided: bool) -> Generator:
        return Generator(self.model.language_model, guided=guided)

    def _begin(self) -> None:
        settings, tokens = self.settings, self._spec.tokens
        self._generator.begin(
            0, settings.drawing, conditions=settings.conditions, guidance=settings.guidance
        )
        self._framer = Framer(self.model.frame_size)
        self._text = SpokenText(
            self.model.tokenizer,
            self.model.frame_rate,
            padding=tokens.text_padding,
            boundary=tokens.text_end_of_padding,
        )
        self.seed = settings.drawing.seed
        self._frames = 0
        self._ended = False

    @property
    def heard_seconds(self) -> float:
        """How much was heard, in whole frames."""
        return self._frames / self.model.frame_rate

    @property
    def spoken_seconds(self) -> float:
        """How much was spoken, from which the times of words count."""
        return self._text.seconds

    def _hear(self, codes: Array) -> list[Event]:
        """Takes the codes `[n_q - dep_q]` of a frame."""
        if self._frames == 0:
            self._generator.step(codes[None])
        self._frames += 1
        if self._trace is not None:
            self._trace.codes.append(codes)
        frame = self._generator.step(codes[None]).frame[0]
        if frame[0] == self._spec.tokens.ungenerated:
            return []
        return self._speak(int(frame[0]), frame[1:])

    def _speak(self, text: int, codes: Array) -> list[Event]:
        """Takes a frame that is complete."""
        if self._trace is not None:
            self._trace.text.append(text)
            self._trace.audio.append(codes)
        return [Audio(self._decoder.feed(codes[:, None])), *self._text.push(text)]
