"""One text on its way to speech: what decides its steps, and what its frames become.

The rules are those of `TTSModel.generate` in moshi models/tts.py and of run_tts.py: audio lags
behind the text by `delay_steps`, goes on for `final_padding` frames after the last word, and a
voice given as audio is forced at first and cut from what comes out.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.typing import Array
from ..events import Audio, Event
from ..lm.generation import StepHooks
from ..options import SamplingParams
from ..state import Integer, Part, Tensor
from .script_parser import ScriptParser
from .speech_options import SpeechOptions
from .state_machine import TextToSpeechStateMachine, WordTimer
from .voices import Voice

if TYPE_CHECKING:
    from .model import TextToSpeech


@dataclass
class Trace:
    """What was made, frame by frame, for whoever wants to compare it: the text token and the codes
    `[dep_q]` of every frame that the reference returns, those before the audio begins too."""

    text: list[int] = field(default_factory=list)
    audio: list[Array] = field(default_factory=list)


class SpeakingRules(StepHooks):
    """Between the model and its row: the machine chooses the text, and codes are held back until
    their delay has passed. `prefix` int64 `[dep_q, frames]` is spoken before all else."""

    def __init__(
        self,
        machine: TextToSpeechStateMachine,
        delays: Array,
        delay_steps: int,
        bonus: float,
        prefix: Array,
    ) -> None:
        self.step = 0
        self._machine, self._bonus, self._prefix = machine, np.float32(bonus), prefix
        self._audio_starts = delays + delay_steps
        self._words: list[tuple[str, int]] = []

    def draws_text(self) -> bool:
        """Not while the voice is given: a stream that goes on from there draws the same."""
        return not self.in_prefix

    def constrain(self, logits: Array) -> Array:
        """A bonus for paddings: speech is the slower, the greater it is."""
        if self._bonus:
            logits = logits.copy()
            logits[self._machine.pacing.pad] += self._bonus
        return logits

    def choose_text(self, token: int) -> int:
        """No text in the prefix, then what the machine makes of the token."""
        if self.in_prefix:
            return token
        chosen, entry = self._machine.process(self.step, token)
        if entry is not None:
            self._words.append((entry.text if entry.tokens else "", self.step))
        return chosen

    def makes_audio(self) -> bool:
        """Not before the text is as far ahead as it should be, and not while all codes are those of
        the prefix."""
        return bool(self.step >= self._audio_starts.min() + self._prefix.shape[1])

    def choose_audio(self, codes: Array) -> Array:
        """Nothing before a codebook's delay, then the prefix, then what was drawn."""
        frames = self.step - self._audio_starts
        forced = np.flatnonzero((frames >= 0) & (frames < self._prefix.shape[1]))
        chosen: Array = np.where(frames < 0, -1, codes)
        chosen[forced] = self._prefix[forced, frames[forced]]
        return chosen

    @property
    def in_prefix(self) -> bool:
        """Whether the voice is still being given."""
        return self.step < len(self._prefix.T)

    def take_begun(self) -> list[tuple[str, int]]:
        """The words that began since this was asked last, and at which step; "" is a pause."""
        words, self._words = self._words, []
        return words


class Utterance:
    """Text in, and the model's frames; codes to be heard, `Audio` and `Word` out."""

    def __init__(
        self,
        model: "TextToSpeech",
        voice: Voice,
        options: SpeechOptions,
        trace: Trace | None = None,
    ) -> None:
        self.model, self._voice, self._options, self._trace = model, voice, options, trace
        self.script = ScriptParser(
            model.tokenizer,
            model.frame_rate,
            speakers=model.takes_embeddings,
            padding_between=options.padding_between,
        )
        self.machine = TextToSpeechStateMachine(model.state_machine_config(options))
        self._frames = 0
        self._set_prefix(voice.prompt)

    @property
    def drawing(self) -> SamplingParams:
        """How the tokens of this utterance are drawn."""
        return self.model.drawing(self._options)

    @property
    def ready(self) -> bool:
        """Whether a step may be made with the text that is here."""
        return not self.ended and (self.rules.in_prefix or self.machine.ready)

    @property
    def ended(self) -> bool:
        """Whether the last frame was made."""
        last = self._last_frame
        return last is not None and self.rules.step >= last + self.model.delay_steps

    def take(self, frame: Array) -> tuple[list[Event], Array | None]:
        """The events of a step that made `frame` int64 `[1 + dep_q]`, -2 where there is none, and
        the codes `[dep_q]` that are to be heard, if any."""
        self.rules.step += 1
        events: list[Event] = []
        for text, step in self.rules.take_begun():
            events += self._words.begin(text, step)
        if self.machine.end_step is not None:
            events += self._words.end(self.machine.end_step)
        if frame[0] == self.model.spec.tokens.ungenerated:
            return events, None
        return events, self._heard(frame)

    def spoke(self, pcm: Array) -> list[Event]:
        """Takes the samples float32 `[n]` of those codes; the voice that was given is not told."""
        if self._frames - 1 - self.model.delay_steps < self._prefix.shape[1]:
            return []
        return [Audio(np.clip(pcm, -1.0, 1.0))]

    def break_off(self) -> list[Event]:
        """The last word, where nothing more is to be made."""
        return [*self._words.end(max(self._words.start, self._frames - self.model.delay_steps))]

    @staticmethod
    def fields(model: "TextToSpeech") -> Part:
        """What is saved, of such a model."""
        return Part(
            {
                "script": ScriptParser.FIELDS,
                "state_machine": TextToSpeechStateMachine.fields(model.spec.text_card),
                "words": WordTimer.FIELDS,
                "voice_codes": Tensor("int64", ("codebooks", "frames"), 0, model.spec.card - 1),
                "step": Integer(),
                "frame": Integer(),
            }
        )

    def save(self) -> dict[str, Any]:
        """All that it remembers, as `fields` says."""
        return {
            "script": self.script.save(),
            "state_machine": self.machine.save(),
            "words": self._words.save(),
            "voice_codes": self._prefix,
            "step": self.rules.step,
            "frame": self._frames,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where a saved one stood.

        Raises UsageError where it was made with another number of codebooks.
        """
        made, saved_codebooks = self.model.spec.dep_q, len(saved["voice_codes"])
        if saved_codebooks != made:
            raise UsageError(f"this was saved with {saved_codebooks} codebooks, not with {made}")
        self._set_prefix(saved["voice_codes"])
        self.script.load(saved["script"])
        self.machine.load(saved["state_machine"])
        self._words.load(saved["words"])
        self.rules.step, self._frames = saved["step"], saved["frame"]

    def pass_prefix(self, saved: dict[str, Any]) -> None:
        """Goes on behind the prefix, as a saved one that has spoken no more than that."""
        self.rules.step, self._frames = saved["step"], saved["frame"]

    @property
    def _last_frame(self) -> int | None:
        """The number of frames of audio that are kept, the prefix with them."""
        end = self.machine.end_step
        return None if end is None else end + self._options.final_padding

    def _set_prefix(self, prefix: Array | None) -> None:
        spec = self.model.spec
        made = np.empty((spec.dep_q, 0), np.int64) if prefix is None else prefix[: spec.dep_q]
        self._prefix = made
        self._words = WordTimer(self.model.frame_rate, made.shape[1])
        delays = np.asarray(spec.delays[1 : 1 + spec.dep_q])
        bonus = self._options.padding_bonus
        self.rules = SpeakingRules(self.machine, delays, self.model.delay_steps, bonus, made)

    def _heard(self, frame: Array) -> Array | None:
        """The codes of a complete frame, unless it lies before the audio or behind its end."""
        if self._trace is not None:
            self._trace.text.append(int(frame[0]))
            self._trace.audio.append(frame[1:].copy())
        index = self._frames - self.model.delay_steps
        self._frames += 1
        if index < 0 or (self._last_frame is not None and index >= self._last_frame):
            return None
        return frame[1:]
