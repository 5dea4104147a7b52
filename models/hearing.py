"""What one stream of speech to text hears and says, whichever row of a batch steps it.

The framing is that of moshi run_inference.py: silence before and after the audio as the model's
settings say, whole frames only, and the first frame given twice, since the language model reads
its initial tokens instead of the first codes that it is given.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.audio import Framer
from .events import Event
from .generation import Made
from .pauses import PauseDetector, TurnPolicy
from .prompt import TextPrompt
from .words import WordAssembler

if TYPE_CHECKING:
    from .speech_to_text import SpeechToText

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


@dataclass(frozen=True, eq=False)
class Frame:
    """Codes int64 `[codebooks]` for one step; `heard` is False for the first of the two steps that
    the first frame is given, `counts` for silence that is no part of the audio."""

    codes: Array
    heard: bool = True
    counts: bool = True


class Hearing:
    """Samples become frames of codes; what the language model makes of each becomes events."""

    prompt: TextPrompt
    """The rules of its row."""

    _led: bool
    _started: bool
    _samples: int

    def __init__(
        self,
        model: "SpeechToText",
        said_first: tuple[int, ...] = (),
        heard: Heard | None = None,
        policy: TurnPolicy | None = None,
    ) -> None:
        assert model.bundle.manifest.stt is not None
        self._model, self._said_first, self._heard = model, said_first, heard
        self._spec, self._stt = model.language_model.spec, model.bundle.manifest.stt
        self._policy = policy or TurnPolicy()
        self._encoder = model.mimi.stream("encode", self._spec.n_q - self._spec.dep_q)
        self._begin()

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._encoder.reset()
        self._begin()

    def push(self, pcm: Array) -> list[Frame]:
        """Takes float32 `[n]`, any n; returns the frames that it completes."""
        self._samples += len(pcm)
        codes = list(self._encoder.encode(self._framer.push(self._lead(pcm))).T)
        frames = [Frame(frame) for frame in codes]
        if codes and not self._started:
            self._started = True
            frames.insert(0, Frame(codes[0], heard=False))
        return frames

    def end(self) -> list[Frame]:
        """The silence after the audio, in which the model says what it still has to."""
        seconds = self._stt.audio_delay_seconds + TAIL_SECONDS
        return self.push(np.zeros(int(seconds * self._model.sample_rate), np.float32))

    def take(self, frame: Frame, made: Made, row: int) -> list[Event]:
        """The events of a frame after its step, in that row."""
        if not frame.heard:
            return []
        token = int(made.frame[row, 0])
        if self._heard is not None:
            self._heard.codes.append(frame.codes)
        if token == self._spec.tokens.ungenerated:
            return []
        if self._heard is not None:
            self._heard.text.append(token)
        events: list[Event] = [*self._words.push(token)]
        if frame.counts and self._model.has_pauses and made.extra_heads is not None:
            chance = float(made.extra_heads[row, self._policy.head, 0])
            events += self._pauses.push(chance, self._words.open_start)
        return events

    def finish(self) -> list[Event]:
        """The last word, and the last pause."""
        return [*self._words.flush(), *self._pauses.flush()]

    def lull(self) -> list[Frame]:
        """Silence that is no part of the audio, as long as text lags behind; `after_lull` puts the
        clock right when its frames are stepped."""
        silence = np.zeros(self._lull_samples, np.float32)
        return [replace(frame, counts=False) for frame in self.push(silence)]

    def after_lull(self) -> list[Event]:
        """The last word; what comes next counts on from where the lull began."""
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
        """How much audio was heard."""
        return float(self._samples / self._model.sample_rate)

    def restart(self) -> list[Frame]:
        """Begins anew where the audio stands, after `finish`: times go on, and what waits for the
        rest of its frame waits on."""
        waiting, samples = self._framer.waiting.copy(), self._samples - self._framer.pending
        self._encoder.reset()
        self._said_first = ()
        self._begin()
        start = samples / self._model.sample_rate
        self._words.begin_at(start)
        lead = self._stt.audio_silence_prefix_seconds - start
        self._pauses = PauseDetector(self._model.frame_rate, lead, self._policy, start)
        self._samples = samples
        return self.push(waiting)

    def prime(self, audio: Array, *, cut: bool) -> list[Frame]:
        """Takes an audio prompt, float32 `[n]`, before all else; returns its frames.

        With `cut` its words are left out and times count from the audio that follows.
        """
        size = self._model.frame_size
        frames = -(-len(audio) // size)
        padded = np.zeros((frames + PROMPT_GAP) * size, np.float32)
        padded[: len(audio)] = audio
        if cut:
            self._cut(frames)
            self._samples -= len(padded)
        return self.push(padded)

    def _cut(self, frames: int) -> None:
        lag = self._stt.audio_delay_seconds + self._stt.audio_silence_prefix_seconds
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

    def save(self) -> dict[str, Any]:
        """Its memory, to be loaded by another one of the same model."""
        return {
            "encoder": self._encoder.save(),
            "pending": self._framer.waiting.copy(),
            "words": self._words.save(),
            "pauses": self._pauses.save(),
            "prompt": self.prompt.remaining,
            "led": self._led,
            "started": self._started,
            "samples": self._samples,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where another one stood."""
        self._begin()
        self._encoder.load(saved["encoder"])
        self.prompt = TextPrompt(saved["prompt"], self._paddings)
        self._framer.push(saved["pending"])
        self._words.load(saved["words"])
        self._pauses.load(saved["pauses"])
        self._led, self._started = saved["led"], saved["started"]
        self._samples = saved["samples"]

    @property
    def _paddings(self) -> tuple[int, int]:
        tokens = self._spec.tokens
        return (tokens.text_end_of_padding, tokens.text_padding)

    def _begin(self) -> None:
        lead = self._stt.audio_silence_prefix_seconds
        boundary, padding = self._paddings
        self._framer = Framer(self._model.frame_size)
        self.prompt = TextPrompt(self._said_first, self._paddings)
        self._words = WordAssembler(
            self._model.tokenizer,
            self._model.frame_rate,
            lead + self._stt.audio_delay_seconds,
            padding=padding,
            boundary=boundary,
        )
        self._pauses = PauseDetector(self._model.frame_rate, lead, self._policy)
        self._led = self._started = False
        self._samples = 0

    def _lead(self, pcm: Array) -> Array:
        """Puts the silence that the model wants before the first audio."""
        if self._led:
            return pcm
        self._led = True
        seconds = self._stt.audio_silence_prefix_seconds
        return np.concatenate([np.zeros(int(seconds * self._model.sample_rate), np.float32), pcm])
