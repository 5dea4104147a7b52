"""What one stream of speech to speech does with what it reads, and with what the model makes of it.

The framing is that of moshi run_inference.py: whole frames only. So are the rules for models of the
type `hibiki`: the end of the audio has codes of its own, and silence goes on after it until the
model's text ends.
"""

import math
import secrets
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.typing import Array
from ..batch import RowTask, TokenTrace
from ..events import Audio, Event
from ..lm.generation import StepOutput
from ..lm.language_model import Conditions, Guidance, SamplingParams
from ..mimi.frame_queue import FrameQueue
from ..model import Model
from ..options import SpeechToSpeechOptions, TranslationOptions
from ..stream_state import Field, Flag, Integer, Record, Tensor
from ..text.detokenizer import TimedDetokenizer
from .prompt import PromptHooks

TAIL_SECONDS = 30.0
"""By how much a translation may go on for longer than its input."""

CONDITIONER = "description"
WANTED, UNWANTED = "very_good", "very_bad"
"""How well the speaker's voice is kept, of what is made and of what guidance leads away from."""


class SpeechToSpeechTask(RowTask):
    """Samples in; `Audio`, `Text` and `Word` out."""

    def __init__(
        self,
        model: Model,
        options: SpeechToSpeechOptions,
        *,
        conditions: Conditions | None = None,
        guidance: Guidance | None = None,
        trace: TokenTrace | None = None,
    ) -> None:
        self._spec, sampling = model.language_model.spec, _sampling(model, options)
        super().__init__(model, sampling, conditions=conditions, guidance=guidance, trace=trace)

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now."""
        return self.queue.waiting

    @property
    def done(self) -> bool:
        return self.ended and not self.waiting

    @property
    def ready(self) -> bool:
        return self.queue.encoded > 0

    @property
    def received_seconds(self) -> float:
        """How much was read, in whole frames."""
        return float(self._frames / self.model.frame_rate)

    @property
    def spoken_seconds(self) -> float:
        """How much was spoken, from which the times of words count."""
        return self._text.seconds

    def feed(self, chunk: Array) -> None:
        """Take float32 `[n]`, any n; raises UsageError for samples that are no audio."""
        self.queue.push(chunk)

    def end(self) -> None:
        """The end of the audio, less what does not fill a frame."""
        self.queue.cut()
        self.ended = True

    def close(self) -> None:
        self.queue.clear()
        self.ended = True

    def next_codes(self) -> Array:
        return self._note(self.queue.next())

    def on_step(self, output: StepOutput, index: int) -> Array | None:
        frame = output.frame[index]
        if self.queue.doubled or frame[0] == self._spec.tokens.ungenerated:
            return None
        codes: Array = frame[1:]
        self._token = int(frame[0])
        if self.trace is not None:
            self.trace.text.append(self._token)
            self.trace.audio.append(codes)
        return codes

    def on_audio(self, pcm: Array) -> None:
        self.found += [Audio(pcm), *self._text.push(self._token)]

    def flush(self) -> list[Event]:
        """The last word."""
        return [*self._text.flush()]

    def reset(self) -> None:
        super().reset()
        self._begin()

    @staticmethod
    def fields(model: Model) -> Record:
        codebooks = model.language_model.spec.n_q - model.language_model.spec.dep_q
        cardinality = model.mimi.cardinality
        return Record(
            {
                "frame_queue": FrameQueue.fields(model.frame_size, codebooks, cardinality),
                "text": TimedDetokenizer.FIELDS,
                "frame": Integer(),
                "ended": Flag(),
                "closed": Flag(),
            }
        )

    def save(self) -> dict[str, Any]:
        return {
            "frame_queue": self.queue.save(),
            "text": self._text.save(),
            "frame": self._frames,
            "ended": self.ended,
            "closed": self.finished,
        }

    def load(self, saved: dict[str, Any]) -> None:
        self._begin()
        self.queue.load(saved["frame_queue"])
        self._text.load(saved["text"])
        self._frames, self.ended = saved["frame"], saved["ended"]
        self.finished = saved["closed"]

    def _begin(self) -> None:
        tokens = self._spec.tokens
        self.queue = FrameQueue(self.model.frame_size, self._spec.n_q - self._spec.dep_q)
        self._text = TimedDetokenizer(
            self.model.tokenizer,
            self.model.frame_rate,
            padding=tokens.text_padding,
            boundary=tokens.text_end_of_padding,
        )
        self._frames = 0

    def _note(self, codes: Array) -> Array:
        """Codes of a step, counted once."""
        if not self.queue.doubled:
            self._frames += 1
            if self.trace is not None:
                self.trace.codes.append(codes)
        return codes


class ConversationTask(SpeechToSpeechTask):
    """Steps through a prompt, int64 `[1 + dep_q, frames]`, before the first frame of its audio, if
    the model takes one. Nothing comes out meanwhile."""

    hooks: PromptHooks

    def __init__(
        self,
        model: Model,
        options: SpeechToSpeechOptions,
        prompt: Array,
        *,
        trace: TokenTrace | None = None,
    ) -> None:
        self._prompt = prompt
        super().__init__(model, options, trace=trace)

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now, those of the prompt too."""
        return self.hooks.left + self.queue.waiting

    @property
    def ready(self) -> bool:
        return self.hooks.left > 0 or self.queue.encoded > 0

    def close(self) -> None:
        super().close()
        self._give(self._prompt[:, :0])

    def next_codes(self) -> Array:
        settings = self.model.bundle.manifest.prompt
        if not self.hooks.left or settings is None:
            return super().next_codes()
        return np.array(settings.partner)

    def on_step(self, output: StepOutput, index: int) -> Array | None:
        """A frame of the prompt is no part of the conversation."""
        in_prompt = self.hooks.left > 0
        self.hooks.step += 1
        return None if in_prompt else super().on_step(output, index)

    @staticmethod
    def fields(model: Model) -> Record:
        fields, spec = SpeechToSpeechTask.fields(model), model.language_model.spec
        if model.bundle.manifest.prompt is None:
            return fields
        most = np.full((1 + spec.dep_q, 1), spec.card - 1)
        most[0] = spec.text_card
        tokens = Tensor("int64", (1 + spec.dep_q, "prompt_frames"), 0, most)
        return fields | Record({"prompt": tokens, "prompt_step": Integer()})

    def save(self) -> dict[str, Any]:
        saved = super().save()
        if self.model.bundle.manifest.prompt is None:
            return saved
        return {**saved, "prompt": self.hooks.prompt, "prompt_step": self.hooks.step}

    def load(self, saved: dict[str, Any]) -> None:
        super().load(saved)
        if "prompt" in saved:
            self._give(saved["prompt"], saved["prompt_step"])

    def _begin(self) -> None:
        super()._begin()
        self._give(self._prompt)
        if self.hooks.left:
            size, codebooks = self.model.frame_size, self._spec.n_q - self._spec.dep_q
            self.queue = FrameQueue(size, codebooks, has_begun=True)

    def _give(self, prompt: Array, step: int = 0) -> None:
        made = 1 + self._spec.dep_q
        self.hooks = PromptHooks(prompt, np.array(self._spec.delays[:made]), step)


class TranslationTask(SpeechToSpeechTask):
    """Speaks on after the end of its audio, until the model's text ends or for `max_tail` seconds.

    Raises UsageError for guidance that the model lacks.
    """

    complete: bool
    """Whether the model's text has ended."""

    def __init__(
        self,
        model: Model,
        options: TranslationOptions,
        *,
        trace: TokenTrace | None = None,
    ) -> None:
        self._max_tail = options.max_tail
        conditions, guidance = _conditions(model, options.cfg_coef)
        super().__init__(model, options, conditions=conditions, guidance=guidance, trace=trace)

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now, those after the end of the audio too."""
        tail = 0 if self.complete else self._left
        return self.queue.waiting + self._unmarked + tail

    @property
    def ready(self) -> bool:
        return self.queue.encoded > 0 or self._marks

    def end(self) -> None:
        received = self._frames + self.queue.waiting
        if received:
            self._unmarked, self._left = True, self._tail_frames(received)
        super().end()

    def close(self) -> None:
        self._unmarked, self._left = False, 0
        super().close()

    def prepare(self) -> None:
        """Silence goes on after the end of the audio."""
        if self._left > 0 and not (self.queue.waiting or self._unmarked or self.complete):
            self._left -= 1
            self.queue.push(np.zeros(self.model.frame_size, np.float32))

    def next_codes(self) -> Array:
        """The end of the audio has codes of its own."""
        if not self._marks:
            return super().next_codes()
        self._unmarked = False
        codes = self._spec.n_q - self._spec.dep_q
        return self._note(np.full(codes, self.model.mimi.cardinality))

    def on_step(self, output: StepOutput, index: int) -> Array | None:
        """An end of text before the end of the audio is none."""
        codes = super().on_step(output, index)
        received_all = self.ended and not (self.queue.waiting or self._unmarked)
        if codes is not None and received_all and self._token == self.model.tokenizer.eos_id():
            self.complete = True
        return codes

    @staticmethod
    def fields(model: Model) -> Record:
        tail: dict[str, Field] = {
            "complete": Flag(),
            "tail_frames": Integer(),
            "end_waits": Flag(),
        }
        return SpeechToSpeechTask.fields(model) | Record(tail)

    def save(self) -> dict[str, Any]:
        tail = {
            "complete": self.complete,
            "tail_frames": self._left,
            "end_waits": self._unmarked,
        }
        return {**super().save(), **tail}

    def load(self, saved: dict[str, Any]) -> None:
        super().load(saved)
        self.complete, self._left = saved["complete"], saved["tail_frames"]
        self._unmarked = saved["end_waits"]

    def _begin(self) -> None:
        super()._begin()
        self.complete = self._unmarked = False
        self._left = 0

    @property
    def _marks(self) -> bool:
        """Whether the next step reads that the audio has ended."""
        return self._unmarked and not self.queue.waiting

    def _tail_frames(self, received: int) -> int:
        rate, seconds = self.model.frame_rate, self._max_tail
        return math.ceil((received / rate + TAIL_SECONDS if seconds is None else seconds) * rate)


def _sampling(model: Model, options: SpeechToSpeechOptions) -> SamplingParams:
    """By the repository's settings but for what is given, and a random seed."""
    own = model.sampling
    seed = secrets.randbits(32)
    usual = SamplingParams(own.temp, own.temp_text, own.top_k, own.top_k_text, seed)
    named = {name: getattr(options, name) for name in vars(usual)}
    return replace(usual, **{name: value for name, value in named.items() if value is not None})


def _conditions(model: Model, cfg_coef: float | None) -> tuple[Conditions, Guidance | None]:
    coefficient, known = 1.0 if cfg_coef is None else cfg_coef, model.language_model
    if CONDITIONER not in known.spec.conditioners:
        if coefficient != 1:
            raise UsageError(
                f"guidance by {coefficient:g}: {model.name} has no {CONDITIONER} to be guided by; "
                "leave --cfg-coef (cfg_coef) at 1"
            )
        return known.condition(), None
    conditions = known.condition({CONDITIONER: WANTED})
    if coefficient == 1:
        return conditions, None
    return conditions, Guidance(coefficient, known.condition({CONDITIONER: UNWANTED}))
