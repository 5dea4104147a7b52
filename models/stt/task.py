"""What one stream of speech to text hears and says, whichever row of a batch steps it.

The framing is that of moshi run_inference.py: silence before and after the audio as the model's
settings say, and whole frames only.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.audio import check_samples
from ..events import Event, Step, ended_by
from ..lm.generation import StepOutput
from ..mimi.frame_queue import FrameQueue
from ..state import LARGEST, Flag, Integer, List, Maybe, Number, Part
from .pauses import PauseDetector, TurnPolicy
from .prompt import TextPrompt
from .words import WordAssembler

if TYPE_CHECKING:
    from .model import SpeechToText

Array = np.ndarray[Any, Any]
TAIL_SECONDS = 1.0
"""Silence after the audio beyond the model's own delay."""

PROMPT_GAP = 10
"""Silent frames between an audio prompt and the audio (stt_from_file_with_prompt_pytorch.py)."""


@dataclass
class Heard:
    """What a stream made, frame by frame, for whoever wants to compare it."""

    codes: list[Array] = field(default_factory=list)
    text: list[int] = field(default_factory=list)


class Hearing:
    """Samples become frames; what the language model makes of the codes of each becomes events.

    `live` tells every frame and every word at once. Without `lead`, no silence comes before the
    audio.
    """

    prompt: TextPrompt
    """The rules of its row."""

    ear: FrameQueue
    """Its frames."""

    _led: bool
    _samples: int
    _aside: int
    """How many of the next frames are no part of the audio, or not to be told."""

    _end: float
    """Seconds of all the audio, once it has ended: no event lies in the silence after it."""

    def __init__(
        self,
        model: "SpeechToText",
        said_first: tuple[int, ...] = (),
        heard: Heard | None = None,
        policy: TurnPolicy | None = None,
        *,
        live: bool = False,
        lead: bool = True,
    ) -> None:
        assert model.bundle.manifest.stt is not None
        self._model, self._said_first, self._heard = model, said_first, heard
        self._spec, self._stt = model.language_model.spec, model.bundle.manifest.stt
        self._policy, self._live = policy or TurnPolicy(), live
        self._lead_seconds = self._stt.audio_silence_prefix_seconds if lead else 0.0
        self._begin()
        self._frame = 0

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._begin()
        self._frame = 0

    def push(self, pcm: Array) -> None:
        """Takes float32 `[n]`, any n; raises UsageError for samples that are no audio."""
        check_samples(pcm)
        if not self._led:
            self._led = True
            lead = int(self._lead_seconds * self._model.sample_rate)
            self._aside += math.ceil(lead / self._model.frame_size)
            self.ear.push(np.zeros(lead, np.float32))
        self.ear.push(pcm)
        self._samples += len(pcm)

    def end(self) -> None:
        """The silence after the audio, in which the model says what it still has to."""
        self._end = self._samples / self._model.sample_rate
        seconds = self._stt.audio_delay_seconds + TAIL_SECONDS
        self.push(np.zeros(int(seconds * self._model.sample_rate), np.float32))

    def next(self) -> Array:
        """The codes `[codebooks]` of the next step."""
        self._codes = self.ear.next()
        self.prompt.heard = not self.ear.doubled
        return self._codes

    def take(self, made: StepOutput, row: int) -> list[Event]:
        """The events of a step, in that row."""
        if self.ear.doubled:
            return []
        events = self._told(made, row)
        self._frame += 1
        self._aside = max(0, self._aside - 1)
        return [ended_by(event, self._end) for event in events]

    def _told(self, made: StepOutput, row: int) -> list[Event]:
        token, heads = int(made.frame[row, 0]), made.extra_heads
        events: list[Event] = []
        if self._live:
            known = () if heads is None else heads[row, : self._spec.extra_heads, 0]
            pauses = tuple(map(float, known))
            events.append(Step(self._frame, pauses))
        if self._heard is not None:
            self._heard.codes.append(self._codes)
        if token == self._spec.tokens.ungenerated:
            return events
        if self._heard is not None:
            self._heard.text.append(token)
        events += self._words.push(token)
        if not self._lulled and self._model.has_pauses and heads is not None:
            chance = float(heads[row, self._policy.head, 0])
            events += self._pauses.push(chance, self._words.open_start)
        return events

    @property
    def is_speech(self) -> bool:
        """Whether the frame stepped next is of the audio itself: no prompt, and no silence that was
        put to it."""
        return not self._aside and not self._lulled

    def finish(self) -> list[Event]:
        """The last word, and the last pause."""
        events = [*self._words.flush(), *self._pauses.flush()]
        return [ended_by(event, self._end) for event in events]

    def lull(self) -> None:
        """Silence that is no part of the audio, as long as text lags behind; `after_lull` puts the
        clock right when its frames are stepped."""
        self._lulled = True
        self.push(np.zeros(self._lull_samples, np.float32))

    def after_lull(self) -> list[Event]:
        """The last word; what comes next counts on from where the lull began."""
        self._lulled = False
        self._samples -= self._lull_samples
        words = self._words.flush()
        self._words.put_back(self._lull_samples / self._model.sample_rate)
        return [*words]

    @property
    def _lull_samples(self) -> int:
        frames = math.ceil(self._stt.audio_delay_seconds * self._model.frame_rate) + 1
        return frames * self._model.frame_size

    @property
    def seconds(self) -> float:
        """How much audio was heard, and what waits for the rest of its frame."""
        waiting = self.ear.waiting * self._model.frame_size
        return max(0.0, float((self._samples - waiting) / self._model.sample_rate))

    def restart(self) -> None:
        """Begins anew where the audio stands, after `finish`: times go on, and what was not stepped
        yet waits on."""
        waiting = self.ear.clear()[-self._samples :] if self._samples else np.empty(0, np.float32)
        samples = self._samples - len(waiting)
        self._said_first, end = (), self._end
        self._begin()
        self._end = end
        start = samples / self._model.sample_rate
        self._words.begin_at(start)
        lead = self._lead_seconds - start
        self._pauses = PauseDetector(self._model.frame_rate, lead, self._policy, start)
        self._samples = samples
        self.push(waiting)

    def prime(self, audio: Array, *, cut: bool) -> None:
        """Takes an audio prompt, float32 `[n]`, before all else.

        With `cut` its words are left out and times count from the audio that follows.
        """
        check_samples(audio)
        size = self._model.frame_size
        frames = -(-len(audio) // size)
        padded = np.zeros((frames + PROMPT_GAP) * size, np.float32)
        padded[: len(audio)] = audio
        if cut:
            self._cut(frames)
            self._samples -= len(padded)
        self._aside += frames + PROMPT_GAP
        self.push(padded)

    def _cut(self, frames: int) -> None:
        lag = self._stt.audio_delay_seconds + self._lead_seconds
        seconds = (frames + PROMPT_GAP) / self._model.frame_rate
        self._words.skip(frames + int(lag * self._model.frame_rate), seconds)
        self._pauses.skip(seconds)

    @property
    def partial(self) -> str:
        """The text of the word that is being heard and not yet closed."""
        return self._words.partial

    @property
    def told_until(self) -> float:
        """Seconds of the audio up to which words were told or begun."""
        return self._words.time

    @staticmethod
    def fields(model: "SpeechToText") -> Part:
        """What is saved, of such a model."""
        spec, text_card = model.language_model.spec, model.tokenizer.get_piece_size()
        cardinality = model.mimi.cardinality
        return Part(
            {
                "frame_queue": FrameQueue.fields(
                    model.frame_size, spec.n_q - spec.dep_q, cardinality
                ),
                "words": WordAssembler.fields(text_card),
                "pauses": PauseDetector.FIELDS,
                "prompt": List(Integer(0, text_card - 1)),
                "started": Flag(),
                "catching_up": Flag(),
                "samples": Integer(-LARGEST),
                "frames_aside": Integer(),
                "audio_seconds": Maybe(Number(0)),
                "frame": Integer(),
            }
        )

    def save(self) -> dict[str, Any]:
        """Its memory, as `fields` says, to be loaded by another one of the same model."""
        return {
            "frame_queue": self.ear.save(),
            "words": self._words.save(),
            "pauses": self._pauses.save(),
            "prompt": self.prompt.remaining,
            "started": self._led,
            "catching_up": self._lulled,
            "samples": self._samples,
            "frames_aside": self._aside,
            "audio_seconds": None if self._end == math.inf else self._end,
            "frame": self._frame,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where another one stood."""
        self._begin()
        self.ear.load(saved["frame_queue"])
        self.prompt = TextPrompt(saved["prompt"], self._paddings)
        self._words.load(saved["words"])
        self._pauses.load(saved["pauses"])
        self._led, self._lulled = saved["started"], saved["catching_up"]
        self._samples, self._frame = saved["samples"], saved["frame"]
        self._aside, end = saved["frames_aside"], saved["audio_seconds"]
        self._end = math.inf if end is None else end

    @property
    def _paddings(self) -> tuple[int, int]:
        tokens = self._spec.tokens
        return (tokens.text_end_of_padding, tokens.text_padding)

    def _begin(self) -> None:
        lead = self._lead_seconds
        boundary, padding = self._paddings
        self.ear = FrameQueue(self._model.frame_size, self._spec.n_q - self._spec.dep_q)
        self.prompt = TextPrompt(self._said_first, self._paddings)
        self._words = WordAssembler(
            self._model.tokenizer,
            self._model.frame_rate,
            lead + self._stt.audio_delay_seconds,
            padding=padding,
            boundary=boundary,
            live=self._live,
        )
        self._pauses = PauseDetector(self._model.frame_rate, lead, self._policy)
        self._led = self._lulled = False
        self._samples = self._aside = 0
        self._end = math.inf
