"""One stream of speech to text.

The framing is that of moshi run_inference.py: silence before and after the audio as the model's
settings say, whole frames only, and the first frame given twice, since the language model reads
its initial tokens instead of the first codes that it is given.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.audio import Framer
from .drawing import Drawing
from .events import Event
from .generation import Generator
from .pauses import HEAD, PauseDetector
from .prompt import TextPrompt
from .saved import check_saved, stamp
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


class SpeechToTextStream:
    """Audio in, words and pauses out. Belongs to one thread at a time."""

    _words: WordAssembler
    _pauses: PauseDetector

    def __init__(
        self,
        model: "SpeechToText",
        drawing: Drawing,
        prompt: tuple[int, ...] = (),
        heard: Heard | None = None,
    ) -> None:
        assert model.bundle.manifest.stt is not None
        self.model, self._drawing, self._said_first = model, drawing, prompt
        self._lm, self._stt, self._heard = (
            model.language_model.spec,
            model.bundle.manifest.stt,
            heard,
        )
        self._encoder = model.mimi.stream("encode", self._lm.n_q - self._lm.dep_q)
        self._generator = Generator(model.language_model)
        self._begin()

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._encoder.reset()
        self._begin()

    def prime(self, audio: Array, *, cut: bool) -> list[Event]:
        """Hears an audio prompt, float32 `[n]`, before all else; returns the events so far.

        With `cut` its words are left out and times count from the audio that follows.
        """
        size = self.model.frame_size
        frames = -(-len(audio) // size)
        padded = np.zeros((frames + PROMPT_GAP) * size, np.float32)
        padded[: len(audio)] = audio
        if cut:
            lag = self._stt.audio_delay_seconds + self._stt.audio_silence_prefix_seconds
            first = frames + int(lag * self.model.frame_rate)
            self._words.skip(first, (frames + PROMPT_GAP) / self.model.frame_rate)
            self._pauses.skip((frames + PROMPT_GAP) / self.model.frame_rate)
        return self.feed(padded)

    def feed(self, pcm: Array) -> list[Event]:
        """Takes float32 `[n]` at the model's rate, any n; returns what became known by it."""
        frames = self._framer.push(self._lead(pcm))
        return [event for codes in self._encoder.encode(frames).T for event in self._hear(codes)]

    def flush(self) -> list[Event]:
        """The end of the audio: what the model still has to say, and the last word."""
        seconds = self._stt.audio_delay_seconds + TAIL_SECONDS
        events = self.feed(np.zeros(int(seconds * self.model.sample_rate), np.float32))
        return [*events, *self._words.flush(), *self._pauses.flush()]

    @property
    def partial(self) -> str:
        """The text of the word that is being heard and not yet closed."""
        return self._words.partial

    @property
    def told_until(self) -> float:
        """Seconds of the audio up to which words were told or begun: text lags behind pauses."""
        return self._words.time

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {
            **stamp(self.model.bundle, "speech-to-text"),
            "encoder": self._encoder.save(),
            "generator": self._generator.save(0),
            "pending": self._framer.waiting.copy(),
            "words": self._words.save(),
            "pauses": self._pauses.save(),
            "prompt": self._prompt.remaining,
            "led": self._led,
            "started": self._started,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where a saved stream stood; raises UsageError if it is of another model."""
        check_saved(saved, self.model.bundle, "speech-to-text")
        self._begin()
        self._encoder.load(saved["encoder"])
        self._prompt = TextPrompt(saved["prompt"], self._paddings)
        self._generator.load(0, saved["generator"], self._prompt)
        self._framer.push(saved["pending"])
        self._words.load(saved["words"])
        self._pauses.load(saved["pauses"])
        self._led, self._started = saved["led"], saved["started"]

    @property
    def _paddings(self) -> tuple[int, int]:
        tokens = self._lm.tokens
        return (tokens.text_end_of_padding, tokens.text_padding)

    def _begin(self) -> None:
        lead = self._stt.audio_silence_prefix_seconds
        boundary, padding = self._paddings
        self._framer = Framer(self.model.frame_size)
        self._prompt = TextPrompt(self._said_first, self._paddings)
        self._generator.begin(0, self._drawing, self._prompt)
        self._words = WordAssembler(
            self.model.tokenizer,
            self.model.frame_rate,
            lead + self._stt.audio_delay_seconds,
            padding=padding,
            boundary=boundary,
        )
        self._pauses = PauseDetector(self.model.frame_rate, lead)
        self._led = self._started = False

    def _lead(self, pcm: Array) -> Array:
        """Puts the silence that the model wants before the first audio."""
        if self._led:
            return pcm
        self._led = True
        seconds = self._stt.audio_silence_prefix_seconds
        return np.concatenate([np.zeros(int(seconds * self.model.sample_rate), np.float32), pcm])

    def _hear(self, codes: Array) -> list[Event]:
        if not self._started:
            self._started = True
            self._step(codes, heard=False)
        if self._heard is not None:
            self._heard.codes.append(codes)
        token, pause = self._step(codes, heard=True)
        if token == self._lm.tokens.ungenerated:
            return []
        if self._heard is not None:
            self._heard.text.append(token)
        events: list[Event] = [*self._words.push(token)]
        if pause is not None:
            events += self._pauses.push(pause, self._words.open_start)
        return events

    def _step(self, codes: Array, *, heard: bool) -> tuple[int, float | None]:
        """One step of the language model: the text token of the frame, the chance of a pause."""
        self._prompt.heard = heard
        made = self._generator.step(codes[None])
        chance = made.extra_heads if self.model.has_pauses else None
        return int(made.frame[0, 0]), None if chance is None else float(chance[0, HEAD, 0])
