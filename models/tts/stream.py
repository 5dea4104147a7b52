"""One stream of text to speech: a batch of one row, stepped as text comes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ...runtime.exclusive import Exclusive, exclusive
from ..events import Event
from ..state import check_state, state_header
from .batch import TextToSpeechBatch, TextToSpeechRow
from .speech_options import SpeechOptions
from .task import Trace
from .voices import Voice

if TYPE_CHECKING:
    from .model import TextToSpeech


class TextToSpeechStream:
    """Text in; `Audio` and `Word` out. Belongs to one thread at a time."""

    _row: TextToSpeechRow

    def __init__(
        self,
        model: "TextToSpeech",
        voice: Voice,
        options: SpeechOptions,
        trace: Trace | None = None,
    ) -> None:
        self.model, self.options = model, options
        self._voice, self._trace = voice, trace
        self._batch, self._row = self._open(guided=voice.is_guided)

    @property
    def _exclusive(self) -> Exclusive:
        return self._batch.exclusive

    @exclusive
    def feed(self, text: str) -> list[Event]:
        """Takes any piece of text; returns what was spoken by it. A word is known to be whole at
        the whitespace after it, and is spoken once the words that the model looks ahead to are
        known too."""
        self.add(text)
        return list(self.run())

    @exclusive
    def flush(self) -> list[Event]:
        """The end of the text: all that is still to be said."""
        return list(self.finish())

    def add(self, text: str) -> None:
        """Takes text that `run` is to speak. Raises UsageError once the stream was flushed."""
        self._row.feed(text)

    def next_turn(self) -> None:
        """Ends a turn: the text that follows is the other speaker's."""
        self._row.next_turn()

    def run(self) -> Iterator[Event]:
        """Speaks as far as the text that is here allows, event by event as they are made."""
        return self._batch.run(self._row)

    def finish(self) -> Iterator[Event]:
        """The end of the text: speaks all that is left, event by event."""
        self._row.end()
        yield from self.run()

    @exclusive
    def break_off(self) -> list[Event]:
        """Ends here, with nothing more spoken: the last word."""
        self._row.break_off()
        return self._row.events()

    @property
    def unspelled(self) -> list[str]:
        """The first words that the model's tokenizer could spell in part only."""
        return self._row.utterance.script.unspelled

    @property
    def given(self) -> bool:
        """Whether there was a word or a pause to speak."""
        return self._row.utterance.machine.given

    @property
    def waiting(self) -> int:
        """How many words and pauses wait to be spoken."""
        return self._row.utterance.machine.waiting

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._row.reset()

    def fork(self) -> Self:
        """Another stream that goes on from here by itself."""
        other = type(self)(self.model, self._voice, self.options)
        other.load(self.save())
        return other

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, the voice with it, to be loaded by another stream of the
        same weights; written by `runtime.state_file.write_state` it is a voice of its own."""
        return {**state_header(self.model.bundle, self.model.family.name), **self._row.save()}

    @exclusive
    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Goes on where a saved stream stood, drawing as it did, or from now on by another seed.

        Raises UsageError if it is of another model or number of codebooks, ModelError if it is
        damaged or of a version that this program does not read; then this stream is as it was.
        """
        check_state(saved, self.model.bundle, self.model.family.name, self.model.saved_part)
        batch, row = self._batch, self._row
        if Voice(saved=saved).is_guided and not batch.guided:
            batch, row = self._open(guided=True)
        drawing = None if seed is None else replace(row.utterance.drawing, seed=seed)
        row.load(saved, drawing)
        self._batch, self._row = batch, row

    def _open(self, *, guided: bool) -> tuple[TextToSpeechBatch, TextToSpeechRow]:
        batch = self.model.batch(1, guided=guided)
        return batch, batch.join(self._voice, self.options, self._trace)
