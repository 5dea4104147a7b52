"""What one stream of speech to text does with its audio, and with what the model makes of it.

The framing is that of moshi run_inference.py: silence before and after the audio as the model's
settings say, and whole frames only.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.audio import check_samples
from ...runtime.errors import UsageError
from ...runtime.exclusive import exclusive
from ...runtime.typing import Array
from ..batch import RowTask, TokenTrace
from ..events import Event, Restart, Step, Word, ended_by
from ..lm.generation import StepHooks, StepOutput
from ..lm.language_model import SamplingParams
from ..mimi.frame_queue import FrameQueue
from ..model import Model
from ..options import HEAD, SpeechToTextOptions, TurnPolicy
from ..stream_state import LARGEST, Flag, Integer, List, Nullable, Number, Record, Since
from .hotwords import HotwordBias, HotwordTree, parse_hotwords
from .pauses import PauseDetector
from .watchdog import Watchdog
from .words import WordAssembler

TAIL_SECONDS = 1.0
"""Silence after the audio beyond the model's own delay."""

PROMPT_GAP = 10
"""Silent frames between an audio prompt and the audio (stt_from_file_with_prompt_pytorch.py)."""


class TextChoice(StepHooks):
    """What chooses text besides the model: the rest of a prompt, then hotwords.

    While there is a prompt, only the paddings and its next token are allowed, and the paddings
    alone at a step whose frame comes `again`.
    """

    again = False

    def __init__(
        self, prompt: Sequence[int], paddings: tuple[int, int], hotwords: HotwordBias | None
    ) -> None:
        self._prompt = list(prompt)
        self._paddings = list(paddings)
        self.hotwords = hotwords

    def constrain(self, logits: Array) -> Array:
        """`logits [text_card]` that it is sampled from."""
        if not self._prompt:
            return logits if self.hotwords is None else self.hotwords.bias(logits)
        allowed = self._paddings if self.again else [*self._paddings, *self._prompt[:1]]
        constrained = np.full_like(logits, -np.inf)
        constrained[allowed] = logits[allowed]
        return constrained

    def choose_text(self, token: int) -> int:
        """Note what is written, and leave it."""
        if self._prompt and token == self._prompt[0] and token not in self._paddings:
            del self._prompt[0]
        elif self.hotwords is not None:
            self.hotwords.take(token)
        return token

    @property
    def remaining(self) -> list[int]:
        """What is yet to be written of the prompt."""
        return list(self._prompt)


class SpeechToTextTask(RowTask):
    """Samples in; `Word`, `Pause` and the other events of speech to text out.

    Raises UsageError for a prompt or a hotword that the tokenizer cannot spell, and a policy for a
    head that the model lacks.
    """

    hooks: TextChoice

    _led: bool
    _catching_up: bool
    _samples: int
    _aside: int
    """How many of the next frames are no part of the audio, or not to be reported."""

    _frame: int
    _end: float
    """Seconds of all the audio, once it has ended: no event lies in the silence after it."""

    def __init__(
        self,
        model: Model,
        options: SpeechToTextOptions | None = None,
        *,
        trace: TokenTrace | None = None,
    ) -> None:
        settings, self._spec = model.bundle.manifest.stt, model.language_model.spec
        assert settings is not None
        self._options = options = options or SpeechToTextOptions()
        self._policy = options.policy or TurnPolicy()
        self._prompt = _spelled(model, options.prompt) if options.prompt else ()
        hotwords = parse_hotwords(options.hotwords) if options.hotwords else ()
        self._hotwords = HotwordTree(hotwords, model.tokenizer) if hotwords else None
        self._delay_seconds = settings.audio_delay_seconds
        self._lead_seconds = settings.audio_silence_prefix_seconds if options.lead else 0.0
        self._text_is_late = max(self._spec.delays) > self._spec.delays[0]
        self._has_pauses = self._spec.extra_heads > HEAD
        if options.policy is not None and options.policy.head >= self._spec.extra_heads:
            raise UsageError(
                f"{model.name} has no extra head that looks {options.policy.horizon:g} s ahead; "
                "export it with '--extra-heads REPO', such as kyutai/stt-1b-en_fr-candle"
            )
        own, temperature = model.sampling, options.temperature
        sampling = SamplingParams(
            text_temperature=own.temp_text if temperature is None else temperature,
            text_top_k=own.top_k_text,
            seed=options.seed,
        )
        super().__init__(model, sampling, trace=trace)

    @property
    def waiting(self) -> int:
        """Frames that could be stepped now."""
        return self.queue.waiting

    @property
    def done(self) -> bool:
        return self.ended and not self.queue.waiting

    @property
    def ready(self) -> bool:
        return self.queue.encoded > 0

    @exclusive
    def prime(self, audio: Array, *, cut: bool) -> None:
        """Take an audio prompt, float32 `[n]`, before all else.

        With `cut` its words are left out and times count from the audio that follows.
        """
        check_samples(audio)
        size = self.model.frame_size
        frames = -(-len(audio) // size)
        padded = np.zeros((frames + PROMPT_GAP) * size, np.float32)
        padded[: len(audio)] = audio
        if cut:
            seconds = (frames + PROMPT_GAP) / self.model.frame_rate
            lag = self._delay_seconds + self._lead_seconds
            self._words.skip(frames + int(lag * self.model.frame_rate), seconds)
            self._pauses.skip(seconds)
            self._samples -= len(padded)
        self._aside += frames + PROMPT_GAP
        self.feed(padded)

    def feed(self, chunk: Array) -> None:
        """Take float32 `[n]`, any n; raises UsageError for samples that are no audio."""
        check_samples(chunk)
        if not self._led:
            self._led = True
            lead = int(self._lead_seconds * self.model.sample_rate)
            self._aside += math.ceil(lead / self.model.frame_size)
            self.queue.push(np.zeros(lead, np.float32))
        self.queue.push(chunk)
        self._samples += len(chunk)

    def end(self) -> None:
        """The silence after the audio, if there was any, in which the model writes the rest."""
        self._end = max(0.0, self._samples / self.model.sample_rate)
        if self._samples > 0:
            seconds = self._delay_seconds + TAIL_SECONDS
            self.feed(np.zeros(int(seconds * self.model.sample_rate), np.float32))
        self.ended = True

    def close(self) -> None:
        self._end = min(self._end, self.seconds)
        self.queue.clear()
        self.ended = True

    def next_codes(self) -> Array:
        self._codes = self.queue.next()
        self.hooks.again = self.queue.doubled
        return self._codes

    def on_step(self, output: StepOutput, index: int) -> None:
        if self.queue.doubled:
            return
        watchdog = None if self.ended or self._aside or self._catching_up else self._watchdog
        before = "" if watchdog is None else self.partial
        events = [ended_by(event, self._end) for event in self._read(output, index)]
        self.found += events
        self._frame += 1
        self._aside = max(0, self._aside - 1)
        if self._catching_up and not self.queue.waiting:
            self._end_catching_up()
        if watchdog is not None:
            wrote = self.partial != before or any(isinstance(event, Word) for event in events)
            if watchdog.stalled(self.queue.pcm, wrote=wrote):
                self.restart()

    def flush(self) -> list[Event]:
        """The last word, and the last pause."""
        events = [*self._words.flush(), *self._pauses.flush()]
        return [ended_by(event, self._end) for event in events]

    @exclusive
    def catch_up(self) -> None:
        """Write at once what text lags behind with, and the open word: for the end of a turn.

        Silence that is no part of the audio is fed and stepped, and the batch with it. Raises what
        goes wrong in the row.
        """
        row, batch = self.row, self.row.batch
        events = list(batch.run(row))
        self._catching_up = True
        self.feed(np.zeros(self._catch_up_samples, np.float32))
        self.found = [*events, *batch.run(row), *self.found]

    @exclusive
    def restart(self) -> None:
        """Restart a model that has stalled where the audio stands: it remembers nothing, times go
        on, and what was not stepped yet waits on.

        The last word and `Restart` are found.
        """
        self.found += [*self.flush(), Restart(self.seconds)]
        waiting = self.queue.clear()[-self._samples :] if self._samples else np.empty(0, np.float32)
        samples, end = self._samples - len(waiting), self._end
        self._begin(())
        start = samples / self.model.sample_rate
        self._words.start_clock_at(start)
        lead = self._lead_seconds - start
        self._pauses = PauseDetector(self.model.frame_rate, lead, self._policy, start)
        self._samples, self._end = samples, end
        self.feed(waiting)
        self.row.batch.clear(self.row.index)
        self.begin()

    @property
    def partial(self) -> str:
        """The text of the word that is open."""
        return self._words.partial

    @property
    def processed_until(self) -> float:
        """Seconds of the audio up to which words are known or begun: text lags behind pauses."""
        return self._words.time

    @property
    def seconds(self) -> float:
        """How much audio was stepped, and what waits for the rest of its frame."""
        waiting = self.queue.waiting * self.model.frame_size
        return max(0.0, float((self._samples - waiting) / self.model.sample_rate))

    def reset(self) -> None:
        super().reset()
        seconds = self._options.watchdog
        self._watchdog = Watchdog(seconds, self.model.frame_rate) if seconds else None
        self._frame = 0
        self._begin(self._prompt)

    @staticmethod
    def fields(model: Model) -> Record:
        spec, text_card = model.language_model.spec, model.tokenizer.get_piece_size()
        cardinality = model.mimi.cardinality
        return Record(
            {
                "frame_queue": FrameQueue.fields(
                    model.frame_size, spec.n_q - spec.dep_q, cardinality
                ),
                "words": WordAssembler.fields(text_card),
                "pauses": PauseDetector.FIELDS,
                "prompt": List(Integer(0, text_card - 1)),
                "hotword": Since(2, List(Integer(0, text_card - 1)), []),
                "watchdog": Nullable(Watchdog.FIELDS),
                "started": Flag(),
                "catching_up": Flag(),
                "samples": Integer(-LARGEST),
                "frames_aside": Integer(),
                "audio_seconds": Nullable(Number(0)),
                "frame": Integer(),
                "ended": Flag(),
            }
        )

    def save(self) -> dict[str, Any]:
        return {
            "frame_queue": self.queue.save(),
            "words": self._words.save(),
            "pauses": self._pauses.save(),
            "prompt": self.hooks.remaining,
            "hotword": [] if self.hooks.hotwords is None else self.hooks.hotwords.written,
            "watchdog": None if self._watchdog is None else self._watchdog.save(),
            "started": self._led,
            "catching_up": self._catching_up,
            "samples": self._samples,
            "frames_aside": self._aside,
            "audio_seconds": None if self._end == math.inf else self._end,
            "frame": self._frame,
            "ended": self.ended,
        }

    def load(self, saved: dict[str, Any]) -> None:
        self._begin(tuple(saved["prompt"]))
        if self.hooks.hotwords is not None:
            self.hooks.hotwords.continue_from(saved["hotword"])
        self.queue.load(saved["frame_queue"])
        self._words.load(saved["words"])
        self._pauses.load(saved["pauses"])
        self._led, self._catching_up = saved["started"], saved["catching_up"]
        self._samples, self._frame = saved["samples"], saved["frame"]
        self._aside, end = saved["frames_aside"], saved["audio_seconds"]
        self._end = math.inf if end is None else end
        self.ended = saved["ended"]
        self.finished = self.done
        if self._watchdog is not None:
            self._watchdog.reset()
            if saved["watchdog"] is not None:
                self._watchdog.load(saved["watchdog"])

    def _begin(self, prompt: tuple[int, ...]) -> None:
        tokens, lead = self._spec.tokens, self._lead_seconds
        boundary, padding = tokens.text_end_of_padding, tokens.text_padding
        self.queue = FrameQueue(self.model.frame_size, self._spec.n_q - self._spec.dep_q)
        silent, tree = {boundary, *range(padding + 1)}, self._hotwords
        bias = None if tree is None else HotwordBias(tree, silent, boundary)
        self.hooks = TextChoice(prompt, (boundary, padding), bias)
        self._words = WordAssembler(
            self.model.tokenizer,
            self.model.frame_rate,
            lead + self._delay_seconds,
            padding=padding,
            boundary=boundary,
            live=self._options.live,
        )
        self._pauses = PauseDetector(self.model.frame_rate, lead, self._policy)
        self._led = self._catching_up = False
        self._samples = self._aside = 0
        self._end = math.inf

    def _read(self, output: StepOutput, index: int) -> list[Event]:
        """The events of a step."""
        token, heads = int(output.frame[index, 0]), output.extra_heads
        events: list[Event] = []
        if self._options.live:
            known = () if heads is None else heads[index, : self._spec.extra_heads, 0]
            events.append(Step(self._frame, tuple(map(float, known))))
        if self.trace is not None:
            self.trace.codes.append(self._codes)
        if token == self._spec.tokens.ungenerated:
            return events
        if self.trace is not None:
            self.trace.text.append(token)
        events += self._words.push(token, self._log_probability(output, index, token))
        if not self._catching_up and self._has_pauses and heads is not None:
            chance = float(heads[index, self._policy.head, 0])
            events += self._pauses.push(chance, self._words.open_start)
        return events

    def _log_probability(self, output: StepOutput, index: int, token: int) -> float | None:
        """The log probability of a text token by the unbiased scores of its step; None for others,
        and for a model whose text is complete in a later step than it is scored."""
        if token <= self._spec.tokens.text_padding or self._text_is_late:
            return None
        scores = output.scores[index]
        below: Array = scores - scores.max()
        return float(below[token] - np.log(np.exp(below).sum()))

    def _end_catching_up(self) -> None:
        """The last word; what comes next counts on from where the silence began."""
        self._catching_up = False
        self._samples -= self._catch_up_samples
        self.found += self._words.flush()
        self._words.shift_clock(self._catch_up_samples / self.model.sample_rate)

    @property
    def _catch_up_samples(self) -> int:
        frames = math.ceil(self._delay_seconds * self.model.frame_rate) + 1
        return frames * self.model.frame_size


def _spelled(model: Model, prompt: str) -> tuple[int, ...]:
    tokens = tuple(model.tokenizer.encode(prompt))
    if model.tokenizer.unk_id() in tokens:
        raise UsageError(f"the prompt {prompt!r} has characters that this model cannot spell")
    return tokens
