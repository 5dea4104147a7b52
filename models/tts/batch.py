"""Texts spoken side by side as they come: streams that join and leave at any step."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.exclusive import exclusive
from ...runtime.typing import Array
from ..events import Event
from ..lm.generation import Generator, StepOutput
from ..options import SamplingParams
from ..row_batch import RowBatch, StreamRow
from ..state import Field, Flag, GraphState, Part
from .speech_options import SpeechOptions
from .task import SpeakingRules, Trace, Utterance
from .voices import Voice

if TYPE_CHECKING:
    from .model import TextToSpeech


class TextToSpeechRow(StreamRow):
    """One stream of a batch: text in, `Audio` and `Word` out.

    However the text is cut into pieces, the speech is the same: a step is made only when no text
    that may still come could change it.
    """

    utterance: Utterance

    def __init__(
        self,
        batch: "TextToSpeechBatch",
        voice: Voice,
        options: SpeechOptions,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(batch)
        self.model = batch.model
        self._voice, self._options, self._trace = voice, options, trace
        self.forget()

    @exclusive
    def feed(self, text: str) -> None:
        """Takes any piece of text. A word is known to be whole at the whitespace after it, and is
        spoken once the words that the model looks ahead to are known too.

        Raises UsageError after `end`, and for a break of more than a day.
        """
        self._check_open()
        self.utterance.machine.add(self.utterance.script.feed(text))

    def set_voice(self, voice: Voice) -> None:
        """Another voice, from the next `reset` on."""
        self._voice = voice

    @exclusive
    def next_turn(self) -> None:
        """Ends a turn: the text that follows is the other speaker's."""
        self._check_open()
        self.utterance.machine.add(self.utterance.script.next_turn())

    @exclusive
    def end(self) -> None:
        """The end of the text; the row is `done` once all that is left is spoken."""
        if not self.ended:
            machine = self.utterance.machine
            machine.add(self.utterance.script.flush())
            self.ended = machine.complete = True
        self.close()

    @exclusive
    def break_off(self) -> None:
        """Ends here, with nothing more spoken."""
        self.ended = self.utterance.machine.complete = self._broken = True
        self.close()

    @property
    def waiting(self) -> int:
        """Words that wait, and 1 for what is being spoken, while a step can be made; else 0."""
        return self.utterance.machine.waiting + 1 if self.ready else 0

    @property
    def done(self) -> bool:
        if not self.ended:
            return False
        return self._broken or self.utterance.ended or not self.utterance.machine.given

    @property
    def ready(self) -> bool:
        return self.utterance.ready and not self.done

    def begin(self) -> None:
        if self._voice.saved is not None:
            self.load(self._voice.saved, self.utterance.drawing)
            return
        if self._voice.primed is not None:
            self.utterance.pass_prefix(self._voice.primed)
            drawing = self.utterance.drawing
            self._load_graphs(self._voice.primed, self.utterance.rules, drawing)
            return
        self.batch.generator.begin(
            self.held_place,
            self.utterance.drawing,
            self.utterance.rules,
            conditions=self._voice.conditions,
            guidance=self._voice.guidance,
        )

    def next(self) -> Array:
        """Codebooks that are left out are not heard."""
        spec = self.model.spec
        return np.full(spec.n_q - spec.dep_q, spec.tokens.zero, np.int64)

    def made(self, made: StepOutput) -> Array | None:
        events, codes = self.utterance.take(made.frame[self.held_place])
        self._events += events
        return codes

    def spoke(self, pcm: Array) -> None:
        self._events += self.utterance.spoke(pcm)

    def last(self) -> list[Event]:
        return self.utterance.break_off() if self._broken else []

    def forget(self) -> None:
        self.utterance = Utterance(self.model, self._voice, self._options, self._trace)
        self._broken = False

    @staticmethod
    def fields(model: "TextToSpeech") -> Part:
        """What is saved, of such a model."""
        own: dict[str, Field] = {
            "broken_off": Flag(),
            "language_model": Generator.fields(model.language_model),
            "decoder": GraphState(model.mimi.open("decode").states),
        }
        return Utterance.fields(model) | Part(own)

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, as `fields` says, the voice with it."""
        self.check_whole()
        assert self.batch.decoder is not None
        return {
            **self.utterance.save(),
            "broken_off": self._broken,
            "language_model": self.batch.generator.save(self.held_place),
            "decoder": self.batch.decoder.save(self.held_place),
        }

    @exclusive
    def load(self, saved: dict[str, Any], drawing: SamplingParams | None = None) -> None:
        """Goes on where a saved one stood, drawing as it did, or from now on by `drawing`.

        Raises UsageError where it was made with another number of codebooks.
        """
        utterance = Utterance(self.model, self._voice, self._options, self._trace)
        utterance.load(saved)
        self._load_graphs(saved, utterance.rules, drawing)
        self.utterance, self.error = utterance, None
        self.ended, self._broken = self.utterance.machine.complete, saved["broken_off"]
        self._closed = self.done

    def _load_graphs(
        self, saved: dict[str, Any], rules: SpeakingRules, drawing: SamplingParams | None
    ) -> None:
        assert self.batch.decoder is not None
        self.batch.generator.load(self.held_place, saved["language_model"], rules, drawing)
        self.batch.decoder.load(self.held_place, saved["decoder"])


class TextToSpeechBatch(RowBatch[TextToSpeechRow]):
    """`rows` texts at most, stepped together. Belongs to one thread at a time."""

    hears = False

    def __init__(self, model: "TextToSpeech", rows: int, *, guided: bool = False) -> None:
        super().__init__(model, rows, guided=guided)
        self.model = model

    def join(
        self, voice: Voice, options: SpeechOptions | None = None, trace: Trace | None = None
    ) -> TextToSpeechRow:
        """A new text in a voice that `TextToSpeech.load_voice` made ready.

        Raises UsageError where all rows are taken, and for a voice with guidance in a batch that is
        not guided.
        """
        return self.add(TextToSpeechRow(self, voice, options or SpeechOptions(), trace))
