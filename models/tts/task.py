"""What one stream of text to speech does with its text, and with the frames that the model makes.

The rules are those of `TTSModel.generate` in moshi models/tts.py and of run_tts.py: audio lags
behind the text by `delay_steps`, goes on for `final_padding` frames after the last word, and a
voice given as audio is forced at first and cut from what comes out.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.exclusive import exclusive
from ...runtime.typing import Array
from ..batch import RowTask, TokenTrace
from ..events import Audio, Event
from ..lm.generation import StepHooks, StepOutput
from ..lm.language_model import SamplingParams
from ..model import Model
from ..options import SpeechOptions
from ..stream_state import Flag, Integer, Record, Since, Tensor
from ..text.normalizer import TextNormalizer
from .script_parser import ScriptParser
from .state_machine import StateMachineConfig, TextToSpeechStateMachine, WordTimer
from .voices import SPEAKER_WAVS, Voice


def audio_delay_steps(model: Model) -> int:
    """By how many steps audio lags behind the text."""
    settings = model.bundle.manifest.tts
    assert settings is not None
    return int(settings.audio_delay_seconds * model.frame_rate)


class SpeakingHooks(StepHooks):
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

    def samples_text(self) -> bool:
        """Not while the voice is given: a stream that goes on from there samples the same."""
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
        """Nothing before a codebook's delay, then the prefix, then what was sampled."""
        frames = self.step - self._audio_starts
        forced = np.flatnonzero((frames >= 0) & (frames < self._prefix.shape[1]))
        chosen: Array = np.where(frames < 0, -1, codes)
        chosen[forced] = self._prefix[forced, frames[forced]]
        return chosen

    @property
    def in_prefix(self) -> bool:
        """Whether the voice is still being given."""
        return self.step < len(self._prefix.T)

    def take_started(self) -> list[tuple[str, int]]:
        """The words that began since this was asked last, and at which step; "" is a pause."""
        words, self._words = self._words, []
        return words


class TextToSpeechTask(RowTask):
    """Text in; `Audio` and `Word` out.

    However the text is cut into pieces, the speech is the same: a step is made only when no text
    that may still come could change it.
    """

    hooks: SpeakingHooks
    normalizer: TextNormalizer
    script: ScriptParser
    machine: TextToSpeechStateMachine

    def __init__(
        self,
        model: Model,
        voice: Voice,
        options: SpeechOptions | None = None,
        *,
        trace: TokenTrace | None = None,
    ) -> None:
        settings, self._spec = model.bundle.manifest.tts, model.language_model.spec
        assert settings is not None
        self._voice, self._options = voice, options or SpeechOptions()
        self._written = self._options.text_form == "written"
        self._delay_steps, self._ahead = audio_delay_steps(model), settings.second_stream_ahead
        zero = self._spec.tokens.zero
        self._no_codes = np.full(self._spec.n_q - self._spec.dep_q, zero, np.int64)
        super().__init__(model, self._sampling(model), trace=trace)

    @property
    def is_guided(self) -> bool:
        return self._voice.is_guided

    @property
    def waiting(self) -> int:
        """Words that wait, and 1 for what is being spoken, while a step can be made; else 0."""
        return self.machine.waiting + 1 if self.ready else 0

    @property
    def waiting_words(self) -> int:
        """How many words and pauses wait to be spoken."""
        return self.machine.waiting

    @property
    def done(self) -> bool:
        return self.ended and (self._closed or self._all_made or not self.machine.given)

    @property
    def ready(self) -> bool:
        may = not self._all_made and (self.hooks.in_prefix or self.machine.ready)
        return may and not self.done

    @property
    def given(self) -> bool:
        """Whether there was a word or a pause to speak."""
        return self.machine.given

    @property
    def unspelled(self) -> list[str]:
        """The first words that the model's tokenizer cannot spell, or in part only."""
        return [*self.normalizer.left_out, *self.script.unspelled]

    @property
    def dropped_tags(self) -> list[str]:
        """Names of the first tags of SSML that were left out."""
        return self.normalizer.dropped_tags

    def feed(self, chunk: str) -> None:
        """Take any piece of text. A word is known to be whole at the whitespace after it, and is
        spoken once the words that the model looks ahead to are known too.

        Raises UsageError for a break of more than a day, and for invalid SSML.
        """
        self.machine.add(self.script.feed(self.normalizer.feed(chunk) if self._written else chunk))

    def has_words(self, turns: Sequence[str]) -> bool:
        """Whether there is a word or a pause in turns, for a task that has not begun; raises as
        `feed` does."""
        other = self.again()
        for turn in turns:
            other.feed(turn)
            other.machine.add(other.script.feed(other.normalizer.flush()))
            other.machine.add(other.script.flush())
        return other.given

    @exclusive
    def next_turn(self) -> None:
        """End a turn: the text that follows is the other speaker's."""
        self.row.check_open()
        self.machine.add(self.script.feed(self.normalizer.flush()))
        self.machine.add(self.script.next_turn())

    def set_voice(self, voice: Voice) -> None:
        """Another voice, from the next `reset` on."""
        self._voice = voice

    def end(self) -> None:
        """The end of the text: what may be half a word is whole."""
        self.machine.add(self.script.feed(self.normalizer.flush()))
        self.machine.add(self.script.flush())
        self.ended = self.machine.complete = True

    def close(self) -> None:
        self.ended = self.machine.complete = self._closed = True

    def begin(self) -> None:
        voice = self._voice
        if voice.saved is not None:
            self.check(voice.saved)
            self.row.resume(voice.saved, self.sampling)
        elif voice.primed is not None:
            self.hooks.step, self._frames = voice.primed["step"], voice.primed["frame"]
            self.row.load_graphs(voice.primed, self.sampling)
        else:
            super().begin()

    def next_codes(self) -> Array:
        """Codebooks that are left out are not read."""
        return self._no_codes

    def on_step(self, output: StepOutput, index: int) -> Array | None:
        frame = output.frame[index]
        self.hooks.step += 1
        for text, step in self.hooks.take_started():
            self.found += self._words.begin(text, step)
        if self.machine.end_step is not None:
            self.found += self._words.end(self.machine.end_step)
        if frame[0] == self._spec.tokens.ungenerated:
            return None
        if self.trace is not None:
            self.trace.text.append(int(frame[0]))
            self.trace.audio.append(frame[1:].copy())
        index, last = self._frames - self._delay_steps, self._last_frame
        self._frames += 1
        if index < 0 or (last is not None and index >= last):
            return None
        codes: Array = frame[1:]
        return codes

    def on_audio(self, pcm: Array) -> None:
        """The voice that was given is no part of the speech."""
        if self._frames - 1 - self._delay_steps >= self._prefix.shape[1]:
            self.found.append(Audio(np.clip(pcm, -1.0, 1.0)))

    def flush(self) -> list[Event]:
        """The last word, if nothing more is to be made."""
        if not self._closed:
            return []
        return [*self._words.end(max(self._words.start, self._frames - self._delay_steps))]

    def reset(self) -> None:
        super().reset()
        self.conditions, self.guidance = self._voice.conditions, self._voice.guidance
        self._begin(self._voice.prompt)

    @staticmethod
    def fields(model: Model) -> Record:
        spec = model.language_model.spec
        return Record(
            {
                "normalizer": Since(2, TextNormalizer.FIELDS, TextNormalizer.MIDWAY),
                "script": ScriptParser.FIELDS,
                "state_machine": TextToSpeechStateMachine.fields(spec.text_card),
                "words": WordTimer.FIELDS,
                "voice_codes": Tensor("int64", ("codebooks", "frames"), 0, spec.card - 1),
                "step": Integer(),
                "frame": Integer(),
                "broken_off": Flag(),
            }
        )

    def save(self) -> dict[str, Any]:
        """Its memory, as `fields` says, the voice with it."""
        return {
            "normalizer": self.normalizer.save(),
            "script": self.script.save(),
            "state_machine": self.machine.save(),
            "words": self._words.save(),
            "voice_codes": self._prefix,
            "step": self.hooks.step,
            "frame": self._frames,
            "broken_off": self._closed,
        }

    def check(self, saved: dict[str, Any]) -> None:
        """Raise UsageError for a stream of another number of codebooks."""
        made, saved_codebooks = self._spec.dep_q, len(saved["voice_codes"])
        if saved_codebooks != made:
            raise UsageError(f"this was saved with {saved_codebooks} codebooks, not with {made}")

    def load(self, saved: dict[str, Any]) -> None:
        self._begin(saved["voice_codes"])
        self.normalizer.load(saved["normalizer"])
        self.script.load(saved["script"])
        self.machine.load(saved["state_machine"])
        self._words.load(saved["words"])
        self.hooks.step, self._frames = saved["step"], saved["frame"]
        self.ended, self._closed = self.machine.complete, saved["broken_off"]
        self.finished = self.done

    def resampled(self, saved: SamplingParams, seed: int) -> SamplingParams:  # noqa: ARG002
        """By its own options, and the seed."""
        return replace(self.sampling, seed=seed)

    @property
    def _last_frame(self) -> int | None:
        """The number of frames of audio that are kept, the prefix with them."""
        end = self.machine.end_step
        return None if end is None else end + self._options.final_padding

    @property
    def _all_made(self) -> bool:
        """Whether the last frame was made."""
        last = self._last_frame
        return last is not None and self.hooks.step >= last + self._delay_steps

    def _begin(self, prompt: Array | None) -> None:
        options, spec = self._options, self._spec
        tokens = spec.tokens
        self.normalizer = TextNormalizer(language=options.language, spelling=self.model.tokenizer)
        self.script = ScriptParser(
            self.model.tokenizer,
            self.model.frame_rate,
            speakers=SPEAKER_WAVS in spec.conditioners,
            padding_between=options.padding_between,
        )
        self.machine = TextToSpeechStateMachine(
            StateMachineConfig(
                pad=tokens.text_padding,
                new_word=tokens.text_end_of_padding,
                multiplier=spec.text_card + 1,
                ahead=self._ahead,
                max_padding=options.max_padding,
                initial_padding=options.initial_padding,
            )
        )
        made = np.empty((spec.dep_q, 0), np.int64) if prompt is None else prompt[: spec.dep_q]
        self._prefix, self._frames, self._closed = made, 0, False
        self._words = WordTimer(self.model.frame_rate, made.shape[1])
        delays = np.asarray(spec.delays[1 : 1 + spec.dep_q])
        self.hooks = SpeakingHooks(
            self.machine, delays, self._delay_steps, options.padding_bonus, made
        )

    def _sampling(self, model: Model) -> SamplingParams:
        """By the bundle's settings unless the options say otherwise."""
        own, options = model.sampling, self._options
        given = options.temperature
        top_k = own.top_k if options.top_k is None else options.top_k
        return SamplingParams(
            temperature=own.temp if given is None else given,
            text_temperature=own.temp_text if given is None else given,
            top_k=min(top_k, self._spec.card),
            text_top_k=own.top_k_text if options.text_top_k is None else options.text_top_k,
            seed=options.seed,
        )
